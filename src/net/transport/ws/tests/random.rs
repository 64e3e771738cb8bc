//! Random messages in random fragments and pieces: whatever the cuts, the same messages come out.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A message: its kind, its fragments, and the pings sent before each.
#[derive(Debug, Clone)]
struct Sent {
    text: bool,
    fragments: Vec<Vec<u8>>,
    pings: Vec<u8>,
}

fn sent() -> impl Strategy<Value = Sent> {
    let piece = prop_oneof![
        4 => vec(any::<u8>(), 0..8),
        1 => vec(any::<u8>(), 120..130),
        1 => (65_530usize..65_540).prop_map(|n| vec![b'a'; n]),
    ];
    (any::<bool>(), vec(piece, 1..4), vec(0..2u8, 4)).prop_map(|(text, mut fragments, pings)| {
        if text {
            for byte in fragments.iter_mut().flatten() {
                *byte &= 0x7f;
            }
        }
        let total: usize = fragments.iter().map(Vec::len).sum();
        if total > MAX_MESSAGE {
            fragments.truncate(1);
        }
        Sent {
            text,
            fragments,
            pings,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_fragments_in_any_pieces(
        messages in vec(sent(), 0..6),
        cuts in vec(1usize..9000, 1..20),
        limit in prop_oneof![Just(1usize), 2..100usize, Just(1 << 20)],
    ) {
        let (mut bytes, mut pings) = (Vec::new(), 0);
        for message in &messages {
            let last = message.fragments.len() - 1;
            for (at, fragment) in message.fragments.iter().enumerate() {
                for _ in 0..message.pings[at] {
                    pings += 1;
                    bytes.extend(masked(0x89, &[pings]));
                }
                let opcode = if at > 0 { 0 } else if message.text { 1 } else { 2 };
                bytes.extend(masked(opcode | if at == last { 0x80 } else { 0 }, fragment));
            }
        }
        let mut server = open_server();
        server.limit = limit;
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            server.feed(piece);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        let expected: Vec<Vec<u8>> = messages.iter().map(|m| m.fragments.concat()).collect();
        prop_assert_eq!(server.heard(), expected);
        prop_assert_eq!(&server.ended, &None);
        let pongs: Vec<u8> = (1..=pings).flat_map(|n| plain(0x8a, &[n])).collect();
        prop_assert_eq!(server.said(), pongs);
    }

    #[test]
    fn any_bytes_end_in_an_error_or_in_silence(bytes in vec(any::<u8>(), 0..300), open in any::<bool>()) {
        let mut server = if open { open_server() } else { End::server(WsServer::default()) };
        server.feed(&bytes);
        let mut client = if open { open_client() } else { End::client(WsClient::default()) };
        client.said();
        client.feed(&bytes);
        prop_assert!(server.above.len() <= bytes.len());
        prop_assert!(client.above.len() <= bytes.len());
    }

    #[test]
    fn one_side_understands_the_other(
        messages in vec(vec(any::<u8>(), 0..3000), 0..8),
        deflate in any::<bool>(),
        level in 1..10u8,
        window_bits in 8..16u8,
        cut in 1usize..4000,
    ) {
        let (server, client) = options(deflate, level, window_bits);
        let (mut server, mut client) = pair(server, client);
        for message in &messages {
            client.send(message);
            server.send(message);
        }
        let (of_client, of_server) = (client.said(), server.said());
        of_client.chunks(cut).for_each(|piece| server.feed(piece));
        of_server.chunks(cut).for_each(|piece| client.feed(piece));
        prop_assert_eq!(server.heard(), &messages[..]);
        prop_assert_eq!(client.heard(), &messages[..]);
    }
}

#[cfg(feature = "compress")]
fn options(deflate: bool, level: u8, window_bits: u8) -> (WsServer, WsClient) {
    use crate::net::transport::ws::WsDeflate;
    let deflate = deflate.then(|| WsDeflate {
        level,
        window_bits,
        ..WsDeflate::default()
    });
    let server = WsServer {
        deflate: deflate.clone(),
        ..WsServer::default()
    };
    (
        server,
        WsClient {
            deflate,
            ..WsClient::default()
        },
    )
}

#[cfg(not(feature = "compress"))]
fn options(_deflate: bool, _level: u8, _window_bits: u8) -> (WsServer, WsClient) {
    (WsServer::default(), WsClient::default())
}
