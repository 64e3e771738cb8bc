//! Messages: the standard's examples, what is illegal, limits, control frames, the closing handshake.

use super::*;

#[test]
fn the_standards_examples() {
    // RFC 6455, 5.7.
    let mut client = open_client();
    client.feed(&[0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    client.feed(&[0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f]);
    assert_eq!(client.heard(), [b"Hello", b"Hello"]);
    let mut server = open_server();
    server.feed(&[
        0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
    ]);
    assert_eq!(server.heard(), [b"Hello"]);
    client.feed(&[0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    let pong = client.said();
    assert_eq!(pong[..2], [0x8a, 0x85]);
    server.feed(&pong);
    assert_eq!(server.ended, None);
    let mut server = End::server(text_server());
    let mut asking = End::client(WsClient::default());
    server.feed(&asking.said());
    server.said();
    server.send(b"Hello");
    assert_eq!(server.said(), [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    let mut server = open_server();
    server.send(&[7; 256]);
    assert_eq!(server.said()[..4], [0x82, 0x7e, 0x01, 0x00]);
    server.send(&[7; 65_536]);
    assert_eq!(server.said()[..10], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn every_split_gives_the_same_messages() {
    let mut bytes = masked(0x01, "grü".as_bytes());
    bytes.extend(masked(0x89, b"are you there"));
    bytes.extend(masked(0x80, "ße".as_bytes()));
    bytes.extend(masked(0x82, b""));
    bytes.extend(masked(0x82, &[9; 300]));
    let expected = ["grüße".as_bytes().to_vec(), Vec::new(), vec![9; 300]];
    for limit in [1, 7, 1000] {
        for cut in 0..=bytes.len() {
            let mut server = open_server();
            server.limit = limit;
            server.feed(&bytes[..cut]);
            server.feed(&bytes[cut..]);
            assert_eq!(server.heard(), expected, "cut at {cut}, limit {limit}");
            assert_eq!(server.said(), plain(0x8a, b"are you there"));
        }
    }
    let mut server = open_server();
    for byte in &bytes {
        server.feed(&[*byte]);
    }
    assert_eq!(server.heard(), expected);
}

#[test]
fn a_message_is_sent_as_one_frame_of_the_kind_asked_for() {
    let kind = |message| {
        let client = WsClient {
            message,
            ..WsClient::default()
        };
        let (mut server, mut client) = pair(WsServer::default(), client);
        let mut kinds = Vec::new();
        for received in [None, Some(0x81), Some(0x82), Some(0x81)] {
            if let Some(first) = received {
                client.feed(&plain(first, b"x"));
            }
            client.send(b"one");
            client.send(b"two");
            let said = client.said();
            kinds.push(said[0]);
            server.feed(&said);
            assert_eq!(server.heard(), [b"one", b"two"]);
        }
        kinds
    };
    assert_eq!(kind(WsMessage::Binary), [0x82; 4]);
    assert_eq!(kind(WsMessage::Text), [0x81; 4]);
    assert_eq!(kind(WsMessage::AsReceived), [0x82, 0x81, 0x82, 0x81]);
}

#[test]
fn a_text_to_send_has_to_be_text() {
    let (mut server, _) = pair(text_server(), WsClient::default());
    let sent = server.layer.send(b"\xff", &mut server.out);
    assert_eq!(
        sent,
        Err(LayerError::Protocol(
            "a text to send that is not UTF-8".into()
        ))
    );
    assert!(server.out.is_empty());
}

/// The close frame at the end of `bytes`, as a server sends it.
fn close_code(bytes: &[u8]) -> (u16, String) {
    let at = bytes
        .iter()
        .rposition(|b| *b == 0x88)
        .expect("a close frame");
    assert_eq!(usize::from(bytes[at + 1]) + at + 2, bytes.len());
    let code = u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]);
    (
        code,
        String::from_utf8(bytes[at + 4..].to_vec()).expect("text"),
    )
}

#[test]
fn what_breaks_the_protocol_is_answered_with_its_code() {
    let huge = [0x82, 0xff, 0, 0, 0, 0, 0, 2, 0, 0, 1, 2, 3, 4];
    let continued = [masked(0x01, b"a"), masked(0x81, b"b")].concat();
    let twice = [masked(0x81, b"a"), masked(0x80, b"b")].concat();
    let cut = [masked(0x01, b"a\xf0\x9f"), masked(0x80, b"")].concat();
    let cases: Vec<(Vec<u8>, u16, &str)> = vec![
        (plain(0x82, b"a"), 1002, "client frame without a mask"),
        (masked(0x83, b""), 1002, "reserved opcode"),
        (masked(0x8f, b""), 1002, "reserved opcode"),
        (masked(0xa2, b""), 1002, "reserved bit set"),
        (masked(0x92, b""), 1002, "reserved bit set"),
        (masked(0xc2, b""), 1002, "reserved bit set"),
        (masked(0xc9, b""), 1002, "reserved bit set"),
        (masked(0x09, b""), 1002, "fragmented control frame"),
        (
            masked(0x89, &[0; 126]),
            1002,
            "control frame over 125 bytes",
        ),
        (vec![0x82, 0xfe, 0, 5], 1002, ""),
        (masked(0x80, b"a"), 1002, "continuation of no message"),
        (twice, 1002, "continuation of no message"),
        (continued, 1002, "message within a message"),
        (masked(0x81, b"\xff"), 1007, "text that is not UTF-8"),
        (masked(0x81, b"a\xf0\x9f"), 1007, "text that is not UTF-8"),
        (cut, 1007, "text that is not UTF-8"),
        (
            masked(0x01, b"\xce\xba\xf4\x90"),
            1007,
            "text that is not UTF-8",
        ),
        (masked(0x88, b"\x03"), 1002, "close code of one byte"),
        (masked(0x88, b"\x03\xed"), 1002, "illegal close code"),
        (
            masked(0x88, b"\x03\xe8\xff"),
            1007,
            "close reason that is not UTF-8",
        ),
        (huge.to_vec(), 1009, "message too large"),
    ];
    for (mut bytes, code, why) in cases {
        let mut server = open_server();
        if why.is_empty() {
            // A length of 5 in the long form, whole only with its mask.
            bytes.extend_from_slice(&[0; 4]);
        }
        server.feed(&bytes);
        let (said, reason) = close_code(&server.said());
        assert_eq!(said, code, "{bytes:x?}");
        assert!(reason.starts_with(why), "{reason} is not {why}");
        match code {
            1009 => assert_eq!(server.error(), &LayerError::Limit("max_frame")),
            _ => assert_eq!(server.error(), &LayerError::Protocol(reason.into())),
        }
        server.layer.finish(&mut server.out);
        assert!(server.out.is_empty(), "one goodbye is enough");
    }
    let mut client = open_client();
    client.feed(&masked(0x82, b"a"));
    assert_eq!(
        client.error(),
        &LayerError::Protocol("masked server frame".into())
    );
}

/// getty's client took its read limit from the default before the application could set it (network.md A.10 row 35): here
/// the limit is there before the handshake, so the first message may be as large as any.
#[test]
fn the_limit_holds_from_the_first_message_on() {
    let (mut server, mut client) = (
        End::server(WsServer::default()),
        End::client(WsClient::default()),
    );
    server.feed(&client.said());
    server.send(&[5; MAX_MESSAGE]);
    client.feed(&server.said());
    assert_eq!(client.heard(), [vec![5; MAX_MESSAGE]]);
    server.send(&[5; MAX_MESSAGE + 1]);
    let said = server.said();
    client.feed(&said[..14]);
    assert_eq!(
        client.error(),
        &LayerError::Limit("max_frame"),
        "before its payload comes"
    );
}

#[test]
fn fragments_count_against_the_limit_together() {
    let mut server = open_server();
    server.feed(&masked(0x02, &[1; MAX_MESSAGE - 10]));
    server.feed(&masked(0x00, &[1; 10]));
    server.feed(&masked(0x80, b""));
    assert_eq!(server.heard(), [vec![1; MAX_MESSAGE]]);
    server.feed(&masked(0x02, &[1; MAX_MESSAGE - 10]));
    server.feed(&masked(0x80, &[1; 11])[..6]);
    assert_eq!(server.error(), &LayerError::Limit("max_frame"));
}

#[test]
fn a_message_may_not_come_in_endless_fragments() {
    let options = WsServer {
        max_fragments: 10,
        ..WsServer::default()
    };
    let (mut server, _) = pair(options, WsClient::default());
    for _ in 0..2 {
        server.feed(&masked(0x02, b"a"));
        for _ in 0..8 {
            server.feed(&masked(0x00, b""));
        }
        server.feed(&masked(0x80, b"b"));
    }
    assert_eq!(server.heard(), [b"ab", b"ab"]);
    server.feed(&masked(0x02, b"a"));
    for _ in 0..10 {
        assert_eq!(server.ended, None);
        server.feed(&masked(0x00, b""));
    }
    assert_eq!(server.error(), &LayerError::Limit("max_fragments"));
    assert_eq!(close_code(&server.said()).0, 1008);
}

/// In getty up to 1.4.9 pings and data were written by two goroutines, which could mix (network.md A.10 row 11): here
/// whatever is appended is a whole frame, in the order it was asked for.
#[test]
fn pongs_and_messages_never_mix() {
    let mut server = open_server();
    server.send(b"one");
    server.feed(&masked(0x01, b"frag"));
    server.feed(&masked(0x89, b"1"));
    server.send(b"two");
    server.layer.probe(&mut server.out).expect("a ping");
    server.feed(&masked(0x89, b"2"));
    server.feed(&masked(0x80, b"ment"));
    let expected = [
        plain(0x82, b"one"),
        plain(0x8a, b"1"),
        plain(0x82, b"two"),
        plain(0x89, &[0, 0, 0, 1]),
        plain(0x8a, b"2"),
    ];
    assert_eq!(server.said(), expected.concat());
    assert_eq!(server.heard(), [b"fragment"]);
}

#[test]
fn a_flood_of_pings_is_answered_in_portions() {
    let mut server = open_server();
    let flood = masked(0x89, &[3; 125]).repeat(1000);
    let mut below = BytesMut::from(&flood[..]);
    let (mut above, mut answered) = (BytesMut::new(), 0);
    loop {
        let mut out = BytesMut::new();
        let progress = server
            .layer
            .receive(&mut below, &mut above, 64 << 10, &mut out);
        assert!(out.len() < 17 << 10, "{} bytes in one go", out.len());
        answered += out.len() / 127;
        match progress {
            Ok(Progress::More) => {}
            other => break assert_eq!(other, Ok(Progress::Hungry)),
        }
    }
    assert_eq!(answered, 1000);
}

#[test]
fn a_peer_that_answers_no_ping_is_dead() {
    let (mut server, mut client) = pair(WsServer::default(), WsClient::default());
    for _ in 0..3 {
        assert_eq!(server.layer.probe(&mut server.out), Ok(()));
        client.feed(&server.said());
        server.feed(&client.said());
    }
    assert_eq!(server.layer.probe(&mut server.out), Ok(()));
    // Anything is a sign of life: who is sending a large frame cannot answer.
    server.feed(&masked(0x82, &[0; 50])[..20]);
    assert_eq!(server.layer.probe(&mut server.out), Ok(()));
    assert_eq!(server.layer.probe(&mut server.out), Err(LayerError::Dead));
}

#[test]
fn both_ends_say_goodbye_with_the_same_code() {
    let (mut server, mut client) = pair(WsServer::default(), WsClient::default());
    assert_eq!(server.layer.ended(), Err(LayerError::Truncated));
    client.layer.finish(&mut client.out);
    let said = client.said();
    assert_eq!(said.len(), 8);
    for byte in &said {
        server.feed(&[*byte]);
    }
    assert_eq!(server.ended, Some(Ok(())));
    assert!(
        server.out.is_empty(),
        "what waits is sent before the answer"
    );
    server.send(b"last");
    server.layer.finish(&mut server.out);
    client.feed(&server.said());
    assert_eq!(
        (client.heard(), &client.ended),
        (vec![b"last".to_vec()], &Some(Ok(())))
    );
    assert_eq!(
        (server.layer.ended(), client.layer.ended()),
        (Ok(()), Ok(()))
    );
    assert_eq!(server.layer.probe(&mut server.out), Ok(()));
    assert_eq!(server.layer.send(b"late", &mut server.out), Ok(()));
    assert!(server.out.is_empty(), "nothing follows a goodbye");
}

#[test]
fn a_goodbye_is_answered_with_its_code_or_without_one() {
    for (payload, answer) in [
        (&b""[..], &[0x88, 0][..]),
        (b"\x03\xe9going away", b"\x88\x02\x03\xe9"),
        (b"\x0f\xa1", b"\x88\x02\x0f\xa1"),
    ] {
        let mut server = open_server();
        server.feed(&[masked(0x88, payload), masked(0x82, b"after")].concat());
        assert_eq!((server.heard(), &server.ended), (Vec::new(), &Some(Ok(()))));
        server.layer.finish(&mut server.out);
        assert_eq!(server.said(), answer);
    }
    let mut server = open_server();
    server.layer.finish(&mut server.out);
    assert_eq!(server.said(), b"\x88\x02\x03\xe8");
}

#[cfg(feature = "compress")]
mod compressed {
    use super::*;
    use crate::net::transport::ws::{WsContext, WsDeflate};

    fn deflating() -> (End, End) {
        let deflate = Some(WsDeflate::default());
        let server = WsServer {
            deflate: deflate.clone(),
            ..WsServer::default()
        };
        pair(
            server,
            WsClient {
                deflate,
                ..WsClient::default()
            },
        )
    }

    #[test]
    fn the_standards_examples() {
        // RFC 7692, 7.2.3: whole, fragmented with a ping between.
        let (mut server, client) = deflating();
        assert!(client.layer.peer.as_ref().expect("a peer").deflate);
        assert!(server.layer.peer.as_ref().expect("a peer").deflate);
        server.feed(&masked(0xc1, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]));
        server.feed(&masked(0x41, &[0xf2, 0x48, 0xcd]));
        server.feed(&masked(0x89, b""));
        server.feed(&masked(0x80, &[0xc9, 0xc9, 0x07, 0x00]));
        server.feed(&masked(0xc1, &[0xf2, 0x00, 0x11, 0x00, 0x00]));
        assert_eq!(server.heard(), [b"Hello", b"Hello", b"Hello"]);
        server.feed(&masked(0xc2, &[0]));
        server.feed(&masked(0xc2, &[]));
        server.feed(&masked(0x82, b"as it is"));
        assert_eq!(server.heard(), [&b""[..], b"", b"as it is"]);
    }

    #[test]
    fn short_messages_go_as_they_are_and_long_ones_small() {
        let (mut server, mut client) = deflating();
        let long = b"again and again, ".repeat(100);
        client.send(b"short");
        client.send(&long);
        client.send(&long);
        let said = client.said();
        assert!(said.len() < 200, "{} bytes", said.len());
        for byte in said {
            server.feed(&[byte]);
        }
        assert_eq!(server.heard(), [b"short".to_vec(), long.clone(), long]);
    }

    #[test]
    fn without_an_offer_nothing_is_compressed() {
        let deflate = Some(WsDeflate::default());
        let server = WsServer {
            deflate: deflate.clone(),
            ..WsServer::default()
        };
        let (server, _) = pair(server, WsClient::default());
        assert!(!server.layer.peer.as_ref().expect("a peer").deflate);
        let client = WsClient {
            deflate,
            ..WsClient::default()
        };
        let (mut server, mut client) = pair(WsServer::default(), client);
        client.send(&[0; 1000]);
        server.feed(&client.said());
        assert_eq!(server.heard(), [vec![0; 1000]]);
        assert!(!client.layer.peer.as_ref().expect("a peer").deflate);
    }

    /// What inflates to more than the limit is refused while it inflates, whatever its own length.
    #[test]
    fn a_bomb_meets_the_limit() {
        let (mut server, mut client) = deflating();
        client.send(&vec![0; MAX_MESSAGE]);
        server.feed(&client.said());
        assert_eq!(server.heard().len(), 1, "just within the limit");
        client.send(&vec![0; MAX_MESSAGE * 10]);
        let said = client.said();
        assert!(said.len() < 5000, "{} bytes", said.len());
        server.feed(&said);
        assert_eq!(server.error(), &LayerError::Limit("max_frame"));
        assert!(server.above.len() <= MAX_MESSAGE + 1);
        // Blocks of nothing, without end.
        let (mut server, _) = deflating();
        let nothing = [0, 0, 0, 0xff, 0xff].repeat(2000);
        server.feed(&masked(0x42, &nothing));
        for _ in 0..9 {
            server.feed(&masked(0x00, &nothing));
            assert_eq!(server.ended, None);
        }
        server.feed(&masked(0x00, &nothing));
        assert_eq!(server.error(), &LayerError::Limit("max_frame"));
        assert!(server.above.is_empty());
    }

    #[test]
    fn broken_compression_and_text_are_told() {
        let (mut server, _) = deflating();
        server.feed(&masked(0xc2, &[0xff; 20]));
        assert_eq!(
            server.error(),
            &LayerError::Protocol("not a deflate stream".into())
        );
        assert_eq!(close_code(&server.said()).0, 1007);
        let (mut server, _) = deflating();
        server.feed(&masked(0xc2, &[0xf2, 0x48, 0xcd]));
        assert_eq!(close_code(&server.said()).0, 1007);
        let (mut server, mut client) = deflating();
        client.send(&[0xff; 200]);
        let mut said = client.said();
        said[0] = 0xc1;
        server.feed(&said);
        assert_eq!(
            close_code(&server.said()),
            (1007, "text that is not UTF-8".into())
        );
        let (mut server, _) = deflating();
        server.feed(&[masked(0x41, &[0xf2]), masked(0xc0, &[0x48])].concat());
        assert_eq!(
            server.error(),
            &LayerError::Protocol("reserved bit set".into())
        );
    }

    #[test]
    fn contexts_and_windows_of_every_kind_understand_each_other() {
        let text: Vec<u8> = (0..9000u32).flat_map(|n| (n % 700).to_be_bytes()).collect();
        for context in [WsContext::Kept, WsContext::Fresh] {
            for window_bits in [8, 9, 12, 15] {
                let deflate = Some(WsDeflate {
                    context,
                    window_bits,
                    peer_window_bits: 9,
                    level: 9,
                    ..WsDeflate::default()
                });
                let server = WsServer {
                    deflate: deflate.clone(),
                    ..WsServer::default()
                };
                let (mut server, mut client) = pair(
                    server,
                    WsClient {
                        deflate,
                        ..WsClient::default()
                    },
                );
                for _ in 0..3 {
                    client.send(&text);
                    server.feed(&client.said());
                    server.send(&text);
                    client.feed(&server.said());
                    assert_eq!(
                        (server.heard(), client.heard()),
                        (vec![text.clone()], vec![text.clone()])
                    );
                }
            }
        }
    }
}
