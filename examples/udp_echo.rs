//! Datagrams: `cargo run --example udp_echo`; ends by itself, within two seconds even if some are lost.
//!
//! One bound socket answers every sender (`cx.send` goes to the sender of the datagram being handled); one connected session
//! asks. Both receive and send by the batch, which the counters at the end show. What is lost, nobody tells: who needs every
//! answer gives each question an id, as `rpc` does, and asks again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use seamio::net::*;

const BURST: u64 = 50;
const QUESTIONS: u64 = 20 * BURST;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut server = Reactor::new(Config::default(), echo())?;
    let id = server.listen("udp://127.0.0.1:0".parse()?, ListenOptions::default())?;
    let port = server.local_addr(id).ok_or("not bound")?.port();
    let stop = server.handle();
    let serving = std::thread::spawn(move || server.run().map(|()| server.metrics().clone()));

    let answers = Arc::new(AtomicU64::new(0));
    let mut client = Reactor::new(Config::default(), asking(Arc::clone(&answers)))?;
    let to = format!("udp://127.0.0.1:{port}").parse()?;
    client.connect(to, ConnectOptions::default());
    let handle = client.handle();
    handle
        .clone()
        .after(Duration::from_secs(2), move || handle.drain(Duration::ZERO));
    client.run()?;

    println!(
        "{QUESTIONS} questions, {} answers",
        answers.load(Ordering::Relaxed)
    );
    stop.drain(Duration::from_secs(1));
    let m = serving.join().map_err(|_| "the server panicked")??;
    println!(
        "server: {} datagrams in {} receives, {} out in {} sends",
        m.frames_in, m.reads, m.frames_out, m.writes
    );
    Ok(())
}

fn echo() -> Callbacks<Messages> {
    Callbacks::new(Messages).on_message(|cx, _, datagram: Bytes| {
        // Full: dropped, as the network might have done.
        let _ = cx.send(&datagram);
    })
}

/// Sends a burst, and the next one when the last of it was answered.
fn asking(answers: Arc<AtomicU64>) -> Callbacks<Messages> {
    fn burst(cx: &mut Cx<'_, Callbacks<Messages>>, from: u64) {
        for number in from..from + BURST {
            let _ = cx.send(&Bytes::copy_from_slice(&number.to_be_bytes()));
        }
    }
    Callbacks::new(Messages)
        .on_open(|cx, _, _| {
            burst(cx, 0);
            Ok(())
        })
        .on_message(move |cx, _, answer: Bytes| {
            answers.fetch_add(1, Ordering::Relaxed);
            let number = answer[..].try_into().map_or(0, u64::from_be_bytes) + 1;
            if number == QUESTIONS {
                cx.handle().drain(Duration::ZERO);
            } else if number % BURST == 0 {
                burst(cx, number);
            }
        })
}
