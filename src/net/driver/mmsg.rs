//! Many datagrams with one system call: recvmmsg and sendmmsg of Linux (network.md B.25). Elsewhere one at a time.

use std::io;
use std::net::SocketAddr;

use socket2::{SockAddr, Socket};

use super::packets::{PACKETS_MAX, Packet, PacketSpace};

/// Receives what waits, as far as there is room. The number of datagrams.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn receive(socket: &Socket, space: &mut PacketSpace) -> io::Result<usize> {
    use std::mem::MaybeUninit;
    use std::os::fd::AsRawFd;

    let mut names = [const { MaybeUninit::<libc::sockaddr_storage>::uninit() }; PACKETS_MAX];
    let mut pieces = [EMPTY_PIECE; PACKETS_MAX];
    let mut headers = [EMPTY_HEADER; PACKETS_MAX];
    let mut room = 0;
    for place in space.places() {
        pieces[room] = libc::iovec {
            iov_base: place.as_mut_ptr().cast(),
            iov_len: place.len(),
        };
        let header = &mut headers[room].msg_hdr;
        header.msg_name = names[room].as_mut_ptr().cast();
        header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        header.msg_iov = &raw mut pieces[room];
        header.msg_iovlen = 1;
        room += 1;
    }
    if room == 0 {
        return Ok(0);
    }
    // SAFETY: the first `room` headers point to one piece and one name each, which live in this frame and are used by no
    // one else; a piece covers a place of `space`, mutably borrowed, at its full length. The kernel writes no further.
    // The descriptor is open as long as `socket` is.
    let count = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            room as libc::c_uint,
            // The true length of a datagram, even if its place holds less.
            (libc::MSG_DONTWAIT | libc::MSG_TRUNC) as _,
            std::ptr::null_mut(),
        )
    };
    let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    for (header, name) in headers[..count].iter().zip(&names) {
        let mut len = header.msg_len as usize;
        if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            len = len.max(space.limit() + 1);
        }
        // SAFETY: the kernel wrote `msg_namelen` bytes of an address to the name of each datagram that it received.
        let from = unsafe { socket_address(name.as_ptr(), header.msg_hdr.msg_namelen) };
        space.note(from.unwrap_or(NOWHERE), len);
    }
    Ok(count)
}

/// Reads the address the kernel wrote.
///
/// # Safety
/// `name` points to `len` bytes of an address, and to as much memory as any address takes.
#[cfg(any(target_os = "linux", target_os = "android"))]
unsafe fn socket_address(
    name: *const libc::sockaddr_storage,
    len: libc::socklen_t,
) -> Option<SocketAddr> {
    if (len as usize) < size_of::<libc::sa_family_t>() {
        return None;
    }
    // SAFETY: the family is the first field and within `len` bytes.
    let family = unsafe { (*name.cast::<libc::sockaddr>()).sa_family };
    if i32::from(family) == libc::AF_INET && len as usize >= size_of::<libc::sockaddr_in>() {
        // SAFETY: of this family, and as long.
        let v4 = unsafe { &*name.cast::<libc::sockaddr_in>() };
        let ip = v4.sin_addr.s_addr.to_ne_bytes();
        Some(SocketAddr::from((ip, u16::from_be(v4.sin_port))))
    } else if i32::from(family) == libc::AF_INET6 && len as usize >= size_of::<libc::sockaddr_in6>()
    {
        // SAFETY: of this family, and as long.
        let v6 = unsafe { &*name.cast::<libc::sockaddr_in6>() };
        let ip = v6.sin6_addr.s6_addr.into();
        let port = u16::from_be(v6.sin6_port);
        let (flow, scope) = (v6.sin6_flowinfo, v6.sin6_scope_id);
        Some(std::net::SocketAddrV6::new(ip, port, flow, scope).into())
    } else {
        None
    }
}

/// Sends as many of the first [`PACKETS_MAX`] as are taken at once. The number of datagrams; an error is that of the
/// first one.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn send(socket: &Socket, packets: &[Packet<'_>]) -> io::Result<usize> {
    use std::os::fd::AsRawFd;

    let packets = &packets[..packets.len().min(PACKETS_MAX)];
    let mut names: [Option<SockAddr>; PACKETS_MAX] = [const { None }; PACKETS_MAX];
    let mut headers = [EMPTY_HEADER; PACKETS_MAX];
    for (packet, (name, header)) in packets.iter().zip(names.iter_mut().zip(&mut headers)) {
        let header = &mut header.msg_hdr;
        if let Some(to) = packet.to {
            let name = name.insert(SockAddr::from(to));
            header.msg_name = name.as_ptr().cast_mut().cast();
            header.msg_namelen = name.len();
        }
        // `IoSlice` promises the layout of the kernel's structure.
        header.msg_iov = packet.pieces.as_ptr().cast_mut().cast();
        header.msg_iovlen = packet.pieces.len() as _;
    }
    // SAFETY: each header points to the name beside it, which stays where it is until the call is over, and to the pieces
    // of its packet, borrowed for as long. The kernel reads both and writes nothing but the lengths in the headers. The
    // descriptor is open as long as `socket` is.
    let count = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            packets.len() as libc::c_uint,
            (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
        )
    };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const EMPTY_PIECE: libc::iovec = libc::iovec {
    iov_base: std::ptr::null_mut(),
    iov_len: 0,
};

// SAFETY: all fields are numbers and pointers, for which zero is a value.
#[cfg(any(target_os = "linux", target_os = "android"))]
const EMPTY_HEADER: libc::mmsghdr = unsafe { std::mem::zeroed() };

/// The sender of a datagram that came without an address.
const NOWHERE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

/// Receives what waits, as far as there is room. The number of datagrams.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn receive(socket: &Socket, space: &mut PacketSpace) -> io::Result<usize> {
    one_by_one::receive(socket, space)
}

/// Sends as many as are taken at once. The number of datagrams; an error is that of the first one.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn send(socket: &Socket, packets: &[Packet<'_>]) -> io::Result<usize> {
    one_by_one::send(socket, packets)
}

/// What every system can.
#[cfg(any(test, not(any(target_os = "linux", target_os = "android"))))]
mod one_by_one {
    use std::mem::MaybeUninit;

    use super::*;
    use crate::net::driver::packets::PACKET_BYTES_MAX;

    pub(super) fn receive(socket: &Socket, space: &mut PacketSpace) -> io::Result<usize> {
        let mut count = 0;
        while count < PACKETS_MAX {
            let mut memory = [MaybeUninit::uninit(); PACKET_BYTES_MAX];
            let (len, from) = match socket.recv_from(&mut memory) {
                Ok(received) => received,
                Err(_) if count > 0 => break, // what the next call says counts
                Err(e) => return Err(e),
            };
            // SAFETY: the first `len` bytes have been received.
            let bytes = unsafe { std::slice::from_raw_parts(memory.as_ptr().cast::<u8>(), len) };
            let from = from.as_socket().unwrap_or(NOWHERE);
            if !space.put(from, bytes) {
                break;
            }
            count += 1;
        }
        Ok(count)
    }

    pub(super) fn send(socket: &Socket, packets: &[Packet<'_>]) -> io::Result<usize> {
        let mut count = 0;
        for packet in packets.iter().take(PACKETS_MAX) {
            let pieces = packet.pieces;
            let sent = match packet.to {
                Some(to) => socket.send_to_vectored(pieces, &SockAddr::from(to)),
                None => socket.send_vectored(pieces),
            };
            match sent {
                Ok(_) => count += 1,
                Err(_) if count > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::net::UdpSocket;

    use super::*;
    use crate::net::driver::packets::Arrival;

    type Receive = fn(&Socket, &mut PacketSpace) -> io::Result<usize>;
    type Send = fn(&Socket, &[Packet<'_>]) -> io::Result<usize>;

    const WAYS: [(Receive, Send); 2] = [(receive, send), (one_by_one::receive, one_by_one::send)];

    fn socket(at: &str) -> (Socket, SocketAddr) {
        let socket = UdpSocket::bind(at).expect("bind");
        socket.set_nonblocking(true).expect("nonblocking");
        let at = socket.local_addr().expect("address");
        (Socket::from(socket), at)
    }

    #[test]
    fn datagrams_arrive_with_their_senders_whatever_pieces_they_were_sent_from() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            for (receive, send) in WAYS {
                let (from, sender) = socket(host);
                let (to, receiver) = socket(host);
                let payload: Vec<u8> = (0..200).collect();
                let whole = [IoSlice::new(&payload)];
                let parts = [IoSlice::new(&payload[..7]), IoSlice::new(&payload[7..])];
                let packets = [&whole[..], &parts, &[], &whole].map(|pieces| Packet {
                    to: Some(receiver),
                    pieces,
                });
                assert_eq!(send(&from, &packets).expect("sent"), 4);
                let mut space = PacketSpace::new();
                space.begin(usize::MAX);
                assert_eq!(receive(&to, &mut space).expect("received"), 4);
                for bytes in [&payload[..], &payload, &[], &payload] {
                    let from = sender;
                    assert_eq!(space.take(), Some(Arrival::Whole { from, bytes }));
                }
                assert_eq!(space.take(), None);
                space.begin(usize::MAX);
                let nothing = receive(&to, &mut space).expect_err("nothing more");
                assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
            }
        }
    }

    #[test]
    fn no_more_than_fit_are_taken_and_long_ones_are_reported_with_their_length() {
        for (receive, send) in WAYS {
            let (from, _) = socket("127.0.0.1:0");
            let (to, receiver) = socket("127.0.0.1:0");
            let bytes = [7; 101];
            let mut sent = 0;
            while sent < PACKETS_MAX + 5 {
                let pieces = [IoSlice::new(&bytes[..60 + sent])];
                let packet = Packet {
                    to: Some(receiver),
                    pieces: &pieces,
                };
                sent += send(&from, &[packet]).expect("sent");
            }
            let mut space = PacketSpace::new();
            let mut seen = 0;
            for expected in [PACKETS_MAX, 5] {
                space.begin(80);
                assert_eq!(receive(&to, &mut space).expect("received"), expected);
                while let Some(arrival) = space.take() {
                    let len = 60 + seen;
                    match arrival {
                        Arrival::Whole { bytes, .. } => assert_eq!(bytes, &[7; 101][..len]),
                        Arrival::Truncated { len: told, .. } => {
                            assert!(len > 80 && told > 80 && told <= len, "{told} of {len}");
                        }
                    }
                    seen += 1;
                }
            }
            assert_eq!(seen, PACKETS_MAX + 5);
        }
    }

    #[test]
    fn the_first_error_is_told_and_those_behind_it_wait() {
        for (_, send) in WAYS {
            let (from, _) = socket("127.0.0.1:0");
            let (_to, receiver) = socket("127.0.0.1:0");
            let (short, long) = (vec![1; 10], vec![1; 66_000]);
            let pieces = [[IoSlice::new(&short)], [IoSlice::new(&long)]];
            let packet = |n: usize| Packet {
                to: Some(receiver),
                pieces: &pieces[n],
            };
            let mixed = [packet(0), packet(1), packet(0)];
            assert_eq!(send(&from, &mixed).expect("the first"), 1);
            let error = send(&from, &mixed[1..]).expect_err("too long");
            assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
            assert_eq!(send(&from, &mixed[2..]).expect("the last"), 1);
        }
    }
}
