//! Echo over a unix socket that knows who asks: `cargo run --example unix_echo`; ends by itself.
//!
//! The path is made with permissions for this user only, and what a crashed predecessor left there is removed after a look
//! whether somebody still serves it. The kernel vouches for the peer's user and process; the handler refuses others.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use seamio::net::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("seamio-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("echo.sock");
    let owner = std::fs::metadata(&folder)?.uid();
    drop(std::os::unix::net::UnixListener::bind(&path)?); // as a crashed predecessor leaves it

    let mut reactor = Reactor::new(Config::default(), echo(owner))?;
    let at: Endpoint = format!("unix://{}", path.display()).parse()?;
    let options = ListenOptions {
        mode: Some(0o600),
        ..ListenOptions::default()
    };
    let id = reactor.listen(at.clone(), options)?;
    let mode = std::fs::metadata(&path)?.permissions().mode() & 0o777;
    let address = reactor.address(id).ok_or("not listening")?;
    println!("listening on {address}, permissions {mode:o}");
    reactor.connect(at, ConnectOptions::default());
    reactor.run()?;
    println!(
        "the path is {}",
        if path.exists() { "still there" } else { "gone" }
    );
    Ok(std::fs::remove_dir_all(folder)?)
}

/// Both ends in one reactor: whoever connected asks, whoever accepted answers.
fn echo(owner: u32) -> Callbacks<Lines> {
    let asks = |session: &Session<_>| matches!(session.peer().origin, Origin::Connected(_));
    Callbacks::new(Lines)
        .on_open(move |cx, session, _| {
            if asks(session) {
                let _ = cx.send(&"who am I?".into());
                return Ok(());
            }
            match session.peer().credentials {
                Some(who) if who.uid == owner => Ok(()),
                _ => Err(Refused("of another user".into())),
            }
        })
        .on_message(move |cx, session, line| {
            if asks(session) {
                println!("{session} heard: {line}");
                cx.handle().drain(Duration::from_secs(1));
            } else {
                let who = session.peer().credentials;
                let _ = cx.send(&format!("you said {line:?} and are {who:?}"));
            }
        })
}
