//! Layer against layer through plain buffers, and against what Go's compressors wrote (`vectors.txt`).

use bytes::{Buf, BytesMut};
use proptest::prelude::*;

use super::layer;
use crate::net::config::{Compression, DeflateLevel};
use crate::net::transport::layer::{Layer, LayerError, Progress};

const ALL: [Compression; 5] = [
    Compression::Deflate(DeflateLevel::Default),
    Compression::Deflate(DeflateLevel::Fast),
    Compression::Deflate(DeflateLevel::Best),
    Compression::Deflate(DeflateLevel::HuffmanOnly),
    Compression::Snappy,
];

fn made(compression: Compression) -> Box<dyn Layer> {
    layer(compression).expect("a layer")
}

/// What sending `pieces` in one turn puts on the wire.
fn turn(sender: &mut dyn Layer, pieces: &[&[u8]]) -> Vec<u8> {
    let mut out = BytesMut::new();
    for piece in pieces {
        sender.send(piece, &mut out).expect("a piece");
    }
    sender.flush(&mut out).expect("a flush");
    out.to_vec()
}

/// Everything `receiver` understands of `wire`, given at once, with the last progress.
fn understood(
    receiver: &mut dyn Layer,
    wire: &[u8],
    limit: usize,
) -> Result<(Vec<u8>, Progress), LayerError> {
    let (mut below, mut above) = (BytesMut::from(wire), Vec::new());
    loop {
        let (mut some, mut said) = (BytesMut::new(), BytesMut::new());
        let progress = receiver.receive(&mut below, &mut some, limit, &mut said)?;
        assert!(said.is_empty(), "there is nothing to answer");
        assert!(some.len() <= limit.max(64 << 10), "{} bytes", some.len());
        above.extend_from_slice(&some);
        match progress {
            Progress::More => assert!(!some.is_empty(), "no progress"),
            Progress::Hungry => {
                assert!(below.is_empty(), "kept what it could use");
                return Ok((above, progress));
            }
            _ => return Ok((above, progress)),
        }
    }
}

fn pieces() -> Vec<Vec<u8>> {
    let mut state = 1u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    vec![
        b"hello".to_vec(),
        b"branch=42;".repeat(30),
        noise.take(100).collect(),
        vec![0; 70_000],
        b"hello".to_vec(),
    ]
}

#[test]
fn none_is_no_layer() {
    assert!(layer(Compression::None).is_none());
}

#[test]
fn go_vectors_are_understood_piece_by_piece() {
    let lines: Vec<_> = include_str!("vectors.txt").lines().collect();
    assert_eq!(lines.len(), 5);
    for line in lines {
        let mut words = line.split(' ');
        let name = words.next().expect("a name");
        let mut receiver = match name {
            "snappy" => made(Compression::Snappy),
            _ => made(Compression::Deflate(DeflateLevel::Default)),
        };
        let mut wires = words.map(unhex);
        for piece in pieces() {
            let wire = wires.next().expect("one per piece");
            let heard = understood(&mut *receiver, &wire, 1 << 20).expect(name);
            assert_eq!(heard.0, piece, "{name}");
            assert_eq!(receiver.ended(), Ok(()), "{name} may end after any flush");
        }
        let end = wires.next().expect("the end");
        let (rest, progress) = understood(&mut *receiver, &end, 1 << 20).expect(name);
        assert!(rest.is_empty());
        let finished = progress == Progress::Finished;
        assert_eq!(finished, name != "snappy", "{name}");
        assert_eq!(receiver.ended(), Ok(()));
    }
}

#[test]
fn any_split_of_any_stream_gives_the_same_bytes() {
    for compression in ALL {
        let mut sender = made(compression);
        let (mut wire, mut plain) = (Vec::new(), Vec::new());
        for piece in [
            &b"hello"[..],
            &b"branch=42;".repeat(12),
            b"\0\xff",
            b"hello",
        ] {
            wire.extend(turn(&mut *sender, &[piece]));
            plain.extend_from_slice(piece);
        }
        for at in 0..=wire.len() {
            let mut receiver = made(compression);
            let mut heard = understood(&mut *receiver, &wire[..at], 4096)
                .expect("a part")
                .0;
            heard.extend(
                understood(&mut *receiver, &wire[at..], 4096)
                    .expect("the rest")
                    .0,
            );
            assert_eq!(heard, plain, "{compression:?} at {at}");
        }
    }
}

#[test]
fn single_bytes_and_small_limits_give_the_same_bytes() {
    for compression in ALL {
        let (mut sender, mut receiver) = (made(compression), made(compression));
        let mut heard = Vec::new();
        for piece in pieces() {
            for byte in turn(&mut *sender, &[&piece]) {
                heard.extend(understood(&mut *receiver, &[byte], 7).expect("a byte").0);
            }
        }
        assert_eq!(heard, pieces().concat(), "{compression:?}");
        assert_eq!(receiver.ended(), Ok(()));
    }
}

#[test]
fn a_flushed_turn_is_all_there() {
    for compression in ALL {
        let (mut sender, mut receiver) = (made(compression), made(compression));
        for n in 0..200u8 {
            let one = turn(&mut *sender, &[&[n; 3], b"", &[n + 1; 5]]);
            let heard = understood(&mut *receiver, &one, 4096).expect("a turn");
            assert_eq!(heard.0, [[n; 3].as_slice(), &[n + 1; 5]].concat());
            assert!(turn(&mut *sender, &[]).is_empty(), "nothing to flush");
        }
    }
}

#[test]
fn a_goodbye_ends_in_order_and_a_cut_does_not() {
    for compression in ALL {
        let mut sender = made(compression);
        let mut wire = turn(&mut *sender, &[b"some text, some text, some text"]);
        let flushed = wire.len();
        let mut out = BytesMut::new();
        sender.send(b"not flushed", &mut out).expect("a piece");
        sender.finish(&mut out);
        wire.extend_from_slice(&out);
        let mut receiver = made(compression);
        let (heard, progress) = understood(&mut *receiver, &wire, 4096).expect("all");
        assert_eq!(heard, b"some text, some text, some textnot flushed");
        assert_eq!(
            progress == Progress::Finished,
            compression != Compression::Snappy
        );
        assert_eq!(receiver.ended(), Ok(()));
        for (at, outcome) in [
            (0, Ok(())),
            (flushed - 1, Err(LayerError::Truncated)),
            (flushed, Ok(())),
            (flushed + 3, Err(LayerError::Truncated)),
        ] {
            let mut receiver = made(compression);
            understood(&mut *receiver, &wire[..at], 4096).expect("a part");
            assert_eq!(receiver.ended(), outcome, "{compression:?} cut at {at}");
        }
    }
}

#[test]
fn a_goodbye_without_a_word_before_is_understood() {
    for compression in ALL {
        let (mut sender, mut receiver) = (made(compression), made(compression));
        let mut out = BytesMut::new();
        sender.start(&mut out).expect("nothing to say");
        sender.finish(&mut out);
        let (heard, _) = understood(&mut *receiver, &out, 4096).expect("an end");
        assert!(heard.is_empty());
        assert_eq!(receiver.ended(), Ok(()));
    }
}

#[test]
fn a_bomb_goes_off_in_small_parts() {
    const HUGE: usize = 6 << 20;
    for compression in ALL {
        let mut sender = made(compression);
        let mut out = BytesMut::new();
        let zeros = vec![0; 1 << 20];
        (0..HUGE / zeros.len()).for_each(|_| sender.send(&zeros, &mut out).expect("zeros"));
        sender.flush(&mut out).expect("a flush");
        let mut receiver = made(compression);
        let (mut heard, mut calls) = (0, 0);
        loop {
            let (mut above, mut said) = (BytesMut::new(), BytesMut::new());
            let progress = receiver
                .receive(&mut out, &mut above, 64 << 10, &mut said)
                .expect("zeros");
            assert!(above.len() <= 64 << 10);
            assert!(above.iter().all(|byte| *byte == 0));
            (heard, calls) = (heard + above.len(), calls + 1);
            if progress == Progress::Hungry {
                break;
            }
            assert_eq!(progress, Progress::More);
        }
        assert_eq!(heard, HUGE);
        assert!(calls >= HUGE / (64 << 10));
    }
}

#[test]
fn large_pieces_of_noise_grow_by_little() {
    for compression in ALL {
        let (mut sender, mut receiver) = (made(compression), made(compression));
        let noise: Vec<u8> = pieces()[2]
            .iter()
            .cycle()
            .enumerate()
            .map(|(i, byte)| byte ^ ((i / 100) as u32).wrapping_mul(0x9e37_79b9).to_be_bytes()[0])
            .take(150_000)
            .collect();
        let wire = turn(&mut *sender, &[&noise]);
        assert!(wire.len() < noise.len() + noise.len() / 100);
        let heard = understood(&mut *receiver, &wire, 64 << 10).expect("noise");
        assert_eq!(heard.0, noise, "{compression:?}");
    }
}

#[test]
fn repetition_over_turns_shrinks_with_deflate() {
    for level in [
        DeflateLevel::Default,
        DeflateLevel::Fast,
        DeflateLevel::Best,
    ] {
        let mut sender = made(Compression::Deflate(level));
        let message = &pieces()[2];
        let first = turn(&mut *sender, &[message]).len();
        let second = turn(&mut *sender, &[message]).len();
        assert!(second * 3 < first, "{second} after {first}");
    }
}

#[test]
fn what_is_no_stream_is_a_protocol_error() {
    let deflate = Compression::Deflate(DeflateLevel::Default);
    let bad: [(Compression, &[u8]); 9] = [
        (deflate, &[0x07]),             // a block of the reserved kind
        (deflate, &[0x00, 1, 0, 1, 0]), // a length that is not its complement's
        (Compression::Snappy, b"hello, this is not snappy"),
        (Compression::Snappy, b"\xff\x06\0\0sNaPpX"),
        (Compression::Snappy, b"\xff\x07\0\0sNaPpYY"),
        (Compression::Snappy, b"\xff\x06\0\0sNaPpY\x02\x01\0\0x"), // may not be skipped
        (
            Compression::Snappy,
            b"\xff\x06\0\0sNaPpY\x01\x05\0\0\0\0\0\0x",
        ), // a wrong sum
        (Compression::Snappy, b"\xff\x06\0\0sNaPpY\x00\xff\xff\xff"), // too long
        (
            Compression::Snappy,
            b"\xff\x06\0\0sNaPpY\x00\x09\0\0\0\0\0\0\xff\xff\xff\xff\x0f",
        ),
    ];
    for (compression, wire) in bad {
        let heard = understood(&mut *made(compression), wire, 4096);
        assert!(
            matches!(heard, Err(LayerError::Protocol(_))),
            "{compression:?} {wire:?}: {heard:?}"
        );
    }
}

#[test]
fn snappy_skips_what_may_be_skipped_and_takes_its_name_again() {
    let mut receiver = made(Compression::Snappy);
    let mut sender = made(Compression::Snappy);
    let mut wire = turn(&mut *sender, &[b"one"]);
    wire.extend_from_slice(b"\xfe\xff\xff\x0f");
    wire.extend_from_slice(&vec![9; 0xf_ffff]);
    wire.extend_from_slice(b"\xff\x06\0\0sNaPpY\x80\0\0\0");
    wire.extend(turn(&mut *sender, &[b"two"]));
    for part in wire.chunks(1000) {
        understood(&mut *receiver, part, 4096).expect("a part");
    }
    assert_eq!(receiver.ended(), Ok(()));
    let mut receiver = made(Compression::Snappy);
    assert_eq!(
        understood(&mut *receiver, &wire, 4096).expect("all").0,
        b"onetwo"
    );
}

fn unhex(word: &str) -> Vec<u8> {
    let digits = word.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex"))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_turns_over_random_reads_arrive(
        which in 0usize..5,
        turns in prop::collection::vec(prop::collection::vec(0u8..4, 0..3000), 1..8),
        reads in prop::collection::vec(1usize..900, 1..20),
        limit in 1usize..5000,
    ) {
        let (mut sender, mut receiver) = (made(ALL[which]), made(ALL[which]));
        let mut wire = BytesMut::new();
        for pieces in &turns {
            wire.extend_from_slice(&turn(&mut *sender, &[pieces]));
        }
        let mut heard = Vec::new();
        for read in reads.iter().cycle() {
            let part = wire.split_to((*read).min(wire.len()));
            heard.extend(understood(&mut *receiver, &part, limit).expect("a part").0);
            if !wire.has_remaining() {
                break;
            }
        }
        prop_assert_eq!(heard, turns.concat());
    }

    #[test]
    fn damaged_streams_never_panic(
        which in 0usize..5,
        at in 0usize..200,
        byte in any::<u8>(),
    ) {
        let mut wire = turn(&mut *made(ALL[which]), &[&pieces()[1], &pieces()[2]]);
        let at = at % wire.len();
        wire[at] = byte;
        match understood(&mut *made(ALL[which]), &wire, 4096) {
            Ok(_) | Err(LayerError::Protocol(_)) => {}
            Err(other) => prop_assert!(false, "{other:?}"),
        }
    }
}
