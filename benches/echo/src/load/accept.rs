//! How fast connections are taken: connect, one message back and forth, reset; one after the other.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use seamio_echo::{now, receive, send, set_nodelay, set_reset_on_close};

use crate::histogram::Histogram;
use crate::report::Fields;
use crate::watch::Watch;
use crate::{Plan, fields_of};

/// Warms up, measures, reports; a message is a connection with its one echo.
pub(crate) fn run(plan: &Plan, to: SocketAddr) -> io::Result<Fields> {
    let mut histogram = Histogram::new();
    let start = now();
    while now() - start < plan.warm_nanos {
        visit(plan, to)?;
    }
    let watch = Watch::look(plan.server);
    let began = now();
    let mut connections = 0;
    while now() - began < plan.nanos {
        let time = now();
        visit(plan, to)?;
        histogram.note(now() - time, 1);
        connections += 1;
    }
    let seconds = (now() - began) as f64 / 1e9;
    let mut fields = fields_of(plan, "accept");
    fields.number("messages", connections as f64);
    fields.number("per_second", connections as f64 / seconds);
    fields.part("latency", &histogram.fields());
    fields.part("use", &watch.since(connections));
    Ok(fields)
}

fn visit(plan: &Plan, to: SocketAddr) -> io::Result<()> {
    let stream = TcpStream::connect(to)?;
    set_nodelay(stream.as_raw_fd())?;
    set_reset_on_close(stream.as_raw_fd())?;
    let frame = &plan.template[..plan.frame()];
    send(stream.as_raw_fd(), frame)?;
    let mut space = [0; 1024];
    let mut back = 0;
    while back < frame.len() {
        match receive(stream.as_raw_fd(), &mut space)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => back += count,
        }
    }
    Ok(())
}
