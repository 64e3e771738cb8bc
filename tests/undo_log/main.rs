//! Undo logs and lock keys of real Java clients: every one is read, and what we write for the same rows is what they wrote.

mod vectors;

use vectors::{Case, kept, recorded, shanghai};

#[test]
fn zz_explore() {
    let zone = shanghai().expect("zone");
    let (mut read, mut same) = (0, 0);
    let mut errors = std::collections::BTreeMap::new();
    for case in recorded().unwrap_or_else(kept) {
        let format = case.format(&zone);
        for undo in case.undo_logs() {
            match undo.decoded(&format) {
                Ok(log) => {
                    read += 1;
                    assert_eq!(log.xid, undo.xid);
                    assert_eq!(log.branch_id, undo.branch_id);
                    let f = seamio::client::at::undo_log::Format {
                        compress_above_bytes: usize::MAX,
                        ..format.clone()
                    };
                    let again =
                        seamio::client::at::undo_log::encode(&log, &f, None).expect("writes");
                    if undo.context.contains("NONE") && undo.context.contains("jackson") {
                        if again.content == undo.content {
                            same += 1;
                        } else {
                            let a = String::from_utf8_lossy(&again.content).into_owned();
                            let b = String::from_utf8_lossy(&undo.content).into_owned();
                            let at = a
                                .bytes()
                                .zip(b.bytes())
                                .position(|(a, b)| a != b)
                                .unwrap_or(0);
                            let cut = |s: &str| {
                                s.chars()
                                    .skip(at.saturating_sub(60))
                                    .take(200)
                                    .collect::<String>()
                            };
                            println!(
                                "DIFF {}\n  ours {}\n  java {}",
                                case.label(),
                                cut(&a),
                                cut(&b)
                            );
                        }
                    }
                    let native = seamio::client::at::undo_log::Format {
                        serializer: seamio::client::at::undo_log::Serializer::Native,
                        ..format.clone()
                    };
                    let encoded =
                        seamio::client::at::undo_log::encode(&log, &native, None).expect("writes");
                    let back = seamio::client::at::undo_log::decode(
                        &encoded.context,
                        &encoded.content,
                        &native,
                    )
                    .expect("reads");
                    assert_eq!(back, log);
                }
                Err(error) => {
                    *errors.entry(error.to_string()).or_insert(0) += 1;
                    println!("{}: {error}", case.label());
                }
            }
        }
    }
    println!("read {read} same {same}");
    for (e, n) in errors {
        println!("{n} {e}");
    }
}
