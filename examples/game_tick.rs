//! The runtime in a game's fixed tick: 60 times a second the host reads what came, moves the world and tells everyone.
//! `cargo run --release --example game_tick`; takes three seconds.
//!
//! The reactor never overruns a frame, since `Budget` bounds what one turn does, and it is what the frame sleeps in: what
//! arrives while the host has nothing to do is read at once, not with the next frame. The world is the host's own, without a
//! lock around it: callbacks only put what they heard into a queue that the same thread empties.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use seamio::net::*;

const FRAME: Duration = Duration::from_nanos(1_000_000_000 / 60);
const FRAMES: u32 = 180;
const BOTS: usize = 50;

/// What the players did since the last frame.
enum Heard {
    Joined(Session<Game>),
    Moved(SessionId, i8),
    Left(SessionId),
}

type Game = Callbacks<LengthDelimited>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (tell, heard) = mpsc::channel();
    let mut config = Config::default();
    // A flood of messages costs this frame at most two milliseconds; the rest waits in the kernel.
    config.budget.slice = Duration::from_millis(2);
    config.budget.frames = 16;
    // A player that does not read is cut off before it holds a second of updates.
    config.session.hard_limit = 256 << 10;
    config.session.overflow = Overflow::Close;
    let mut reactor = Reactor::new(config, game(tell))?;
    let id = reactor.listen("127.0.0.1:0".parse()?, ListenOptions::default())?;
    let address = reactor.local_addr(id).ok_or("not listening")?;
    let bots = std::thread::spawn(move || play(address.into()));

    let clock = Monotonic;
    let mut world: BTreeMap<u64, (Session<Game>, i64)> = BTreeMap::new();
    let (mut moves, mut late, mut worst) = (0u64, 0, Duration::ZERO);
    let mut due = clock.now() + FRAME;
    for frame in 1..=FRAMES {
        // Network until the frame is due; this is the frame's sleep too.
        loop {
            let now = clock.now();
            let left = due.saturating_duration_since(now);
            reactor.poll_once(Some(left.saturating_sub(SLACK)))?;
            if left <= SLACK {
                break;
            }
        }
        let behind = wait_until(due, clock);
        worst = worst.max(behind);
        late += u32::from(behind > Duration::from_millis(1));
        due += FRAME;
        // The world moves.
        for event in heard.try_iter() {
            match event {
                Heard::Joined(session) => drop(world.insert(session.id().as_u64(), (session, 0))),
                Heard::Left(id) => drop(world.remove(&id.as_u64())),
                Heard::Moved(id, by) => {
                    moves += 1;
                    if let Some((_, at)) = world.get_mut(&id.as_u64()) {
                        *at += i64::from(by);
                    }
                }
            }
        }
        // One frame for everyone; the bytes leave with the next turn, one write per player.
        let state: Vec<u8> = world
            .values()
            .flat_map(|(_, at)| at.to_be_bytes())
            .collect();
        let state = Bytes::from(state);
        for (session, _) in world.values() {
            let _ = session.send(state.clone()); // a player that left meanwhile is noticed above
        }
        if frame % 60 == 0 {
            let m = reactor.metrics();
            println!(
                "frame {frame}: {} players, {moves} moves, {} turns, {:.2} system calls per move; \
                 {late} frames began more than 1 ms late, at worst {worst:?}",
                world.len(),
                m.turns,
                m.system_calls_per_frame().unwrap_or_default(),
            );
        }
    }
    drop(reactor); // everyone is told by a closed connection
    let updates = bots.join().map_err(|_| "the bots panicked")?;
    println!("{BOTS} bots saw {updates} updates");
    Ok(())
}

fn game(tell: mpsc::Sender<Heard>) -> Game {
    let (joined, left) = (tell.clone(), tell.clone());
    Callbacks::new(LengthDelimited)
        .on_open(move |_, session, _| {
            let _ = joined.send(Heard::Joined(session.clone()));
            Ok(())
        })
        .on_message(move |_, session, message: Bytes| {
            if let [by] = message[..] {
                let _ = tell.send(Heard::Moved(session.id(), by as i8));
            }
        })
        .on_close(move |_, session, _| drop(left.send(Heard::Left(session.id()))))
}

/// The host sleeps no closer to the frame than this: a sleep is exact to about a millisecond.
const SLACK: Duration = Duration::from_millis(1);

/// Spins the last stretch. How late it is already.
fn wait_until(due: Instant, clock: Monotonic) -> Duration {
    while clock.now() < due {
        std::hint::spin_loop();
    }
    clock.now() - due
}

/// Players that move at random until the server is gone. How many updates they saw.
fn play(server: Endpoint) -> u64 {
    let bots = Callbacks::new(LengthDelimited)
        .on_open(|_, _, config| {
            config.tick = Duration::from_millis(5);
            Ok(())
        })
        .on_tick(|cx, session| {
            let step = (session.stats().frames_in % 3) as u8;
            drop(cx.send(&Bytes::copy_from_slice(&[step.wrapping_sub(1)])));
        });
    let mut reactor = Reactor::new(Config::default(), bots).expect("a reactor");
    let options = ConnectOptions {
        connections: BOTS,
        ..ConnectOptions::default()
    };
    reactor.connect(server, options);
    while reactor.metrics().opened < BOTS as u64 || reactor.metrics().sessions > 0 {
        reactor
            .poll_once(Some(Duration::from_millis(100)))
            .expect("a turn");
    }
    reactor.metrics().frames_in
}
