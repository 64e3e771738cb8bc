//! Data both ways, and the end of them.

use rustls::{ClientConnection, ServerConnection};
use std::io::{Read, Write};

use super::*;

#[test]
fn much_data_flows_both_ways_within_the_limit() {
    for versions in VERSIONS {
        let mut pair = World::speaking(versions).pair().established();
        let data = pattern(3 << 20);
        for piece in data.chunks(100_003) {
            pair.client
                .layer
                .send(piece, &mut pair.client.out)
                .expect("sends");
            pair.server
                .layer
                .send(piece, &mut pair.server.out)
                .expect("sends");
        }
        pair.client
            .layer
            .flush(&mut pair.client.out)
            .expect("flushes");
        pair.server
            .layer
            .flush(&mut pair.server.out)
            .expect("flushes");
        let Pair { client, server } = &mut pair;
        exchange(client, server, &data);
        exchange(server, client, &data);
    }
}

/// What `from` has in `out` is `data` to `to`, which never holds much more than its limit.
fn exchange(from: &mut End, to: &mut End, data: &[u8]) {
    const LIMIT: usize = 20_000;
    let mut at = 0;
    while !from.out.is_empty() {
        let bytes = from.out.split_to(from.out.len().min(65_536));
        to.below.extend_from_slice(&bytes);
        loop {
            let progress = to
                .layer
                .receive(&mut to.below, &mut to.above, LIMIT, &mut to.out)
                .expect("receives");
            assert!(to.above.len() < LIMIT + LARGE_RECORD);
            let heard = to.heard();
            assert!(heard[..] == data[at..at + heard.len()]);
            at += heard.len();
            // Sending in between is no disturbance.
            to.layer.send(b"x", &mut BytesMut::new()).expect("sends");
            match progress {
                Progress::More => assert!(!to.below.is_empty()),
                other => {
                    assert_eq!(other, Progress::Hungry);
                    break;
                }
            }
        }
        assert!(to.below.len() < RECORD_MAX, "only a part of a record waits");
    }
    assert_eq!(at, data.len());
}

#[test]
fn one_byte_at_a_time_means_the_same() {
    for versions in VERSIONS {
        let mut pair = World::speaking(versions).pair().established();
        let data = pattern(5000);
        pair.client.say(&data);
        pair.server.say(&data[..77]);
        pair.settle(1).expect("talks");
        assert_eq!(pair.server.heard(), data);
        assert_eq!(pair.client.heard(), data[..77]);
    }
}

/// Lengths of the records in `bytes`.
fn records(mut bytes: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let Some(&[_, _, _, high, low]) = bytes.first_chunk() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        lengths.push(length);
        bytes = &bytes[5 + length..];
    }
    assert!(bytes.is_empty());
    lengths
}

#[test]
fn pieces_of_a_turn_share_records_which_are_small_at_first() {
    let mut pair = World::new().pair().established();
    let client = &mut pair.client;
    for _ in 0..100 {
        client.layer.send(&[7; 10], &mut client.out).expect("sends");
    }
    assert!(client.out.is_empty(), "held back until the end of the turn");
    client.layer.flush(&mut client.out).expect("flushes");
    client.layer.flush(&mut client.out).expect("flushes");
    assert_eq!(records(&client.out.split()), [1000 + 17]);
    client.say(&[7; 3000]);
    assert_eq!(
        records(&client.out.split()),
        [1300 + 17, 1300 + 17, 400 + 17]
    );
    client.say(&pattern(20_000));
    let many = records(&client.out.split());
    assert!(many[..many.len() - 1].iter().all(|length| *length == 1317));
    for piece in pattern(40_000).chunks(999) {
        client.layer.send(piece, &mut client.out).expect("sends");
    }
    client.layer.flush(&mut client.out).expect("flushes");
    assert_eq!(
        records(&client.out.split()),
        [16_384 + 17, 16_384 + 17, 40_000 - 32_768 + 17]
    );
    client.say(&[]);
    assert!(client.out.is_empty(), "no empty records");
}

#[test]
fn a_goodbye_is_heard_and_answered() {
    for versions in VERSIONS {
        let mut pair = World::speaking(versions).pair().established();
        pair.client
            .layer
            .send(b"last words", &mut pair.client.out)
            .expect("sends");
        pair.client.layer.finish(&mut pair.client.out);
        pair.settle(usize::MAX).expect("ends");
        assert_eq!(pair.server.heard(), b"last words");
        assert!(pair.server.finished && !pair.client.finished);
        assert_eq!(pair.server.layer.ended(), Ok(()));
        assert_eq!(pair.client.layer.ended(), Err(LayerError::Truncated));
        assert!(
            pair.client
                .layer
                .send(b"too late", &mut pair.client.out)
                .is_err()
        );
        // The other direction is still open.
        pair.server.say(b"an answer");
        pair.settle(usize::MAX).expect("talks");
        assert_eq!(pair.client.heard(), b"an answer");
        pair.server.layer.finish(&mut pair.server.out);
        pair.settle(usize::MAX).expect("ends");
        assert!(pair.client.finished);
        assert_eq!(pair.client.layer.ended(), Ok(()));
        // What comes behind a goodbye means nothing.
        pair.client.take(b"garbage").expect("ignored");
        assert!(pair.client.heard().is_empty());
    }
}

#[test]
fn data_and_goodbye_at_once_come_in_their_order() {
    let mut pair = World::new().pair().established();
    pair.client.say(&pattern(50_000));
    pair.client.layer.finish(&mut pair.client.out);
    let Pair { client, server } = &mut pair;
    server.below.extend_from_slice(&client.out.split());
    let mut heard = Vec::new();
    loop {
        let progress = server
            .layer
            .receive(&mut server.below, &mut server.above, 1, &mut server.out)
            .expect("receives");
        heard.extend(server.heard());
        if progress == Progress::Finished {
            break;
        }
        assert_eq!(progress, Progress::More);
    }
    assert_eq!(heard, pattern(50_000));
}

#[test]
fn an_end_without_a_goodbye_is_truncation() {
    for versions in VERSIONS {
        let mut pair = World::speaking(versions).pair().established();
        pair.client.say(b"hello");
        pair.settle(usize::MAX).expect("talks");
        assert_eq!(pair.server.layer.ended(), Err(LayerError::Truncated));
        assert_eq!(pair.client.layer.ended(), Err(LayerError::Truncated));
    }
}

#[test]
fn changed_bytes_end_the_connection_with_an_alert() {
    for versions in VERSIONS {
        let mut pair = World::speaking(versions).pair().established();
        pair.client.say(b"hello");
        let last = pair.client.out.len() - 1;
        pair.client.out[last] ^= 1;
        let bytes = pair.client.out.split();
        let error = pair.server.take(&bytes).expect_err("not what was sent");
        assert!(matches!(error, LayerError::Protocol(_)), "{error:?}");
        assert!(pair.server.heard().is_empty());
        let alert = pair.server.out.split();
        let error = pair.client.take(&alert).expect_err("an alert");
        assert_eq!(
            error,
            LayerError::Protocol("the peer sent the alert BadRecordMac".into())
        );
        assert!(pair.client.out.is_empty(), "an alert is not answered");
    }
}

#[test]
fn bytes_that_mean_nothing_after_our_goodbye_are_an_error_too() {
    for versions in VERSIONS {
        let mut pair = World::speaking(versions).pair().established();
        pair.server.layer.finish(&mut pair.server.out);
        pair.server.out.clear();
        let error = pair.server.take(&[0xff; 100]).expect_err("no record");
        assert!(matches!(error, LayerError::Protocol(_)), "{error:?}");
    }
}

/// rustls' own buffered connection as the peer of a layer.
struct Foreign<C>(C);

impl<C, D> Foreign<C>
where
    C: std::ops::DerefMut<Target = rustls::ConnectionCommon<D>>,
    D: rustls::SideData,
{
    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            self.0.read_tls(&mut bytes).expect("reads");
            self.0.process_new_packets().expect("understands");
        }
    }

    fn out(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.0.wants_write() {
            self.0.write_tls(&mut bytes).expect("writes");
        }
        bytes
    }

    fn heard(&mut self) -> Vec<u8> {
        let mut heard = Vec::new();
        // It would block at the end of what there is, which is all that is wanted.
        let _ = self.0.reader().read_to_end(&mut heard);
        heard
    }
}

fn handshake<C, D>(foreign: &mut Foreign<C>, end: &mut End)
where
    C: std::ops::DerefMut<Target = rustls::ConnectionCommon<D>>,
    D: rustls::SideData,
{
    for _ in 0..5 {
        end.take(&foreign.out()).expect("handshake");
        foreign.take(&end.out.split());
    }
    assert!(end.layer.is_established() && !foreign.0.is_handshaking());
}

#[test]
fn a_key_update_is_answered_before_the_next_record() {
    let (client, server) = World::speaking(Versions::Only1_3).configs();
    let config = client.config();
    let name = ServerName::try_from("server.test").expect("name");
    let mut foreign = Foreign(ClientConnection::new(config, name).expect("client"));
    let mut end = End::new(server.layer().expect("server"));
    handshake(&mut foreign, &mut end);
    for round in 0..100u8 {
        foreign.0.refresh_traffic_keys().expect("update");
        foreign.0.writer().write_all(&[round; 100]).expect("writes");
        for byte in foreign.out() {
            end.take(&[byte]).expect("understands");
        }
        assert_eq!(end.heard(), [round; 100]);
        end.say(&[round; 50]);
        let bytes = end.out.split();
        assert_eq!(records(&bytes).len(), 2, "the answer, and the record");
        foreign.take(&bytes);
        assert_eq!(foreign.heard(), [round; 50]);
    }
}

#[test]
fn too_many_key_updates_are_refused() {
    let (client, server) = World::speaking(Versions::Only1_3).configs();
    let config = client.config();
    let name = ServerName::try_from("server.test").expect("name");
    let mut foreign = Foreign(ClientConnection::new(config, name).expect("client"));
    let mut end = End::new(server.layer().expect("server"));
    handshake(&mut foreign, &mut end);
    let mut refused = None;
    for _ in 0..100 {
        foreign.0.refresh_traffic_keys().expect("update");
        if let Err(e) = end.take(&foreign.out()) {
            refused = Some(e);
            break;
        }
    }
    assert!(
        matches!(refused, Some(LayerError::Protocol(_))),
        "{refused:?}"
    );
}

#[test]
fn sending_in_the_middle_of_a_message_of_the_peer_does_no_harm() {
    // Tickets that come in records of a few bytes: part of a message lies in the buffer while we send. The library knows
    // such parts by their place in the buffer and panicked when it was asked with an empty one.
    let (client, server) = World::speaking(Versions::Only1_3).configs();
    let mut config = rustls::ServerConfig::clone(&server.config());
    config.max_fragment_size = Some(32);
    let config = Arc::new(config);
    let mut foreign = Foreign(ServerConnection::new(Arc::clone(&config)).expect("server"));
    let mut end = End::new(client.layer("server.test").expect("client"));
    end.layer.start(&mut end.out).expect("starts");
    let mut said = 0;
    let mut heard = 0;
    for _ in 0..3 {
        foreign.take(&end.out.split());
        for byte in foreign.out() {
            end.take(&[byte]).expect("understands");
            if end.layer.is_established() {
                end.say(b"in between");
                said += 1;
            }
        }
    }
    foreign.take(&end.out.split());
    heard += foreign.heard().len();
    assert!(said > 100, "tickets came in pieces: {said}");
    assert_eq!(heard, said * 10);
    end.layer.finish(&mut end.out);
    foreign.take(&end.out.split());
    foreign.0.writer().write_all(b"welcome").expect("writes");
    end.take(&foreign.out()).expect("understands");
    assert_eq!(end.heard(), b"welcome");
    // And the tickets were understood.
    let mut again = Foreign(ServerConnection::new(config).expect("server"));
    let mut end = End::new(client.layer("server.test").expect("client"));
    end.layer.start(&mut end.out).expect("starts");
    handshake(&mut again, &mut end);
    assert!(end.layer.peer().expect("peer").resumed);
}

#[test]
fn random_changes_of_data_end_in_an_error() {
    for versions in VERSIONS {
        let (client, server) = World::speaking(versions).configs();
        let mut state = 7u64;
        let mut next = |below: usize| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) as usize % below
        };
        for _ in 0..100 {
            let mut pair = Pair::new(&client, &server).established();
            let data = pattern(1 + next(9000));
            pair.client.say(&data);
            let at = next(pair.client.out.len());
            pair.client.out[at] ^= 1 << next(8);
            match pair.settle(1 + next(3000)) {
                Ok(()) => assert!(pair.server.heard().len() < data.len()),
                Err(Failure::Server(e)) => assert!(matches!(e, LayerError::Protocol(_)), "{e:?}"),
                Err(Failure::Client(e)) => panic!("{e:?}"),
            }
            let heard = pair.server.heard();
            assert!(heard.len() <= data.len() && heard[..] == data[..heard.len()]);
        }
    }
}
