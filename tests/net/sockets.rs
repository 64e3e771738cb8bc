//! Options of sockets that only show from outside (network.md B.7, B.26).

use std::net::SocketAddr;
use std::time::Duration;

use crate::fixture::*;
use seamio::net::*;

/// The kernel spreads connections over all sockets of the port, so no reactor hands any to another.
#[test]
fn two_reactors_share_a_port() {
    let options = || ListenOptions {
        reuse_port: true,
        ..ListenOptions::default()
    };
    let first = Server::listening(Config::default(), options(), App::new());
    let second = Server::start(Config::default(), App::new());
    let listening = second.handle.listen(first.address.into(), options()).wait();
    assert_eq!(
        listening.expect("the same port").address,
        Address::Ip(first.address)
    );
    let mut clients = Vec::new();
    let shares = |first: &Server, second: &Server| {
        let opened = |server: &Server| server.handle.metrics().opened;
        (opened(first), opened(second))
    };
    // The share of each is a matter of hashing: until both have one.
    for n in 1..=200u64 {
        let mut client = first.client();
        assert_eq!(client.ask(b"who"), b"who");
        clients.push(client);
        let (one, other) = shares(&first, &second);
        if one > 0 && other > 0 {
            break;
        }
        assert!(n < 200, "all connections went to one: {one} and {other}");
    }
    // One of them ends, the other goes on with what it has.
    drop(second);
    let alive = clients.iter_mut().filter_map(|client| {
        use std::io::{Read, Write};
        client.stream.write_all(&frame(b"still")).ok()?;
        let mut answer = [0; 9];
        client.stream.read_exact(&mut answer).ok()
    });
    assert!(alive.count() > 0);
    // Without the option on both the port is taken.
    let third = Server::start(Config::default(), App::new());
    let at: SocketAddr = first.address;
    let refused = third.handle.listen(at.into(), ListenOptions::default());
    assert!(
        matches!(refused.wait(), Err(Error::Io(e)) if e.kind() == std::io::ErrorKind::AddrInUse)
    );
}

/// The kernel takes the values or says why not; nothing is ignored in silence.
#[cfg(target_os = "linux")]
#[test]
fn busy_polling_is_set_on_every_socket_or_refused_with_the_reason() {
    let config = |packets| Config {
        busy_poll: Some(BusyPoll {
            time: Duration::from_micros(40),
            packets,
            prefer: false,
        }),
        ..Config::default()
    };
    let reactor = match Reactor::new(config(8), App::new().0) {
        Ok(reactor) => reactor,
        Err(e) => {
            let why = e.to_string();
            eprintln!("not tried further: {why}");
            let known = ["CAP_NET_ADMIN", "older than 6.9", "does not take"];
            assert!(known.iter().any(|text| why.contains(text)), "{why}");
            return;
        }
    };
    drop(reactor);
    let (mut app, notes) = App::new();
    let (sender, found) = crossbeam_channel::unbounded();
    app.on_open = Box::new(move |_, session, _| {
        let sender = sender.clone();
        session.with_socket(move |socket| drop(sender.send(socket.busy_poll())));
        Ok(())
    });
    let server = Server::start(config(8), (app, notes));
    let _client = server.client();
    let at = "udp://127.0.0.1:0".parse().expect("endpoint");
    let udp = server.handle.listen(at, ListenOptions::default()).wait();
    let to = udp.expect("listening").address.ip().expect("an address");
    let to = Endpoint::Udp(HostPort::Address(to));
    server.handle.connect(to, ConnectOptions::default());
    let own = server.address.into();
    server.handle.connect(own, ConnectOptions::default());
    // Accepted, bound and connected ones.
    for _ in 0..5 {
        let micros = found.recv_timeout(PATIENCE).expect("a session");
        assert_eq!(micros.expect("an option"), 40);
    }
}
