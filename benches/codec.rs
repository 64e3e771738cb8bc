//! What one message costs in the codec: nanoseconds and allocations, for decoding a frame that lies in a receive buffer
//! and for encoding into a buffer that is reused.
//!
//! `cargo bench --bench codec [-- --csv]`. Each sample is a run of many operations; the columns are percentiles over the
//! samples. `floor` is what remains without the codec: one reference to the frame, or one copy of its bytes.

#[path = "../tests/wire/allocation.rs"]
mod allocation;

use std::hint::black_box;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use seamio::proto::Text;
use seamio::proto::codec::{Rpc, decode_rpc, encode_rpc};
use seamio::proto::frame::{FRAME_BYTES_MAX, FrameLength, decode_frame, peek_frame};
use seamio::proto::message::*;
use seamio::proto::status::BranchType;
use seamio::proto::version::ExceptionTable;

fn main() {
    let csv = std::env::args().any(|argument| argument == "--csv");
    match csv {
        true => println!("case,bytes,ns_p50,ns_p99,ns_p99_9,allocations"),
        false => println!(
            "{:<24}{:>8}{:>10}{:>10}{:>10}{:>14}",
            "case", "bytes", "ns p50", "ns p99", "ns p99.9", "allocations"
        ),
    }
    for (name, message) in cases() {
        let rpc = Rpc::request(7, message);
        let mut out = BytesMut::new();
        encode_rpc(&rpc, ExceptionTable::V2_0, &mut out).expect("within the limits");
        let frame = out.freeze();
        let mut out = BytesMut::with_capacity(frame.len());
        let rows = [
            ("decode", measure(|| decode(&frame))),
            ("decode floor", measure(|| frame.clone())),
            ("encode", measure(|| encode(&rpc, &mut out))),
            ("encode floor", measure(|| copy(&frame, &mut out))),
        ];
        for (what, cost) in rows {
            let name = format!("{what} {name}");
            let [p50, p99, p99_9] = cost.ns;
            let (bytes, allocations) = (frame.len(), cost.allocations);
            match csv {
                true => println!("{name},{bytes},{p50:.1},{p99:.1},{p99_9:.1},{allocations:.2}"),
                false => println!(
                    "{name:<24}{bytes:>8}{p50:>10.1}{p99:>10.1}{p99_9:>10.1}{allocations:>14.2}"
                ),
            }
        }
    }
}

fn cases() -> [(&'static str, Message); 4] {
    let xid = Text::from_static("192.168.0.1:8091:2612341069705662465");
    let register = Message::BranchRegister(BranchRegister {
        xid: xid.clone(),
        branch_type: BranchType::At,
        resource_id: "jdbc:mysql://127.0.0.1:3306/seata".into(),
        lock_key: "stock_tbl:1,2;order_tbl:10_a,11_b".into(),
        application_data: "{\"autoCommit\":false}".into(),
    });
    let merged = Message::MergedWarp(MergedWarp {
        messages: vec![register.clone(); 20],
        ids: (0..20).collect(),
    });
    let begin = Message::GlobalBegin(GlobalBegin {
        timeout_ms: 60_000,
        transaction_name: "createOrder(java.lang.String,int)".into(),
    });
    let commit = Message::GlobalCommit(GlobalEnd {
        xid,
        extra_data: Text::new(),
    });
    [
        ("begin", begin),
        ("commit", commit),
        ("register", register),
        ("merged 20", merged),
    ]
}

fn decode(frame: &Bytes) -> Rpc {
    let FrameLength::Complete(length) = peek_frame(frame, FRAME_BYTES_MAX).expect("a frame") else {
        panic!("a whole frame");
    };
    let frame = decode_frame(frame.slice(..length)).expect("a frame");
    decode_rpc(frame, ExceptionTable::V2_0).expect("a message")
}

fn encode(rpc: &Rpc, out: &mut BytesMut) -> usize {
    out.clear();
    encode_rpc(rpc, ExceptionTable::V2_0, out).expect("within the limits");
    out.len()
}

fn copy(frame: &Bytes, out: &mut BytesMut) -> usize {
    out.clear();
    out.extend_from_slice(frame);
    out.len()
}

struct Cost {
    /// Nanoseconds of one operation: p50, p99, p99.9 over the samples.
    ns: [f64; 3],
    /// Of one operation.
    allocations: f64,
}

#[allow(clippy::disallowed_methods)] // A benchmark reads the clock.
fn measure<T>(mut work: impl FnMut() -> T) -> Cost {
    const SAMPLES: usize = 2000;
    const RUNS: usize = 100;
    for _ in 0..SAMPLES {
        black_box(work());
    }
    let mut ns = Vec::with_capacity(SAMPLES);
    let (spent, ()) = allocation::measured(|| {
        for _ in 0..SAMPLES {
            let start = Instant::now();
            for _ in 0..RUNS {
                black_box(work());
            }
            ns.push(start.elapsed().as_nanos() as f64 / RUNS as f64);
        }
    });
    ns.sort_by(f64::total_cmp);
    let at = |share: f64| ns[((SAMPLES - 1) as f64 * share) as usize];
    Cost {
        ns: [at(0.5), at(0.99), at(0.999)],
        allocations: spent.count as f64 / (SAMPLES * RUNS) as f64,
    }
}
