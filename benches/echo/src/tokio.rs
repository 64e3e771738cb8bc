//! The Rust state of practice: tokio with a framed codec, one task per connection.
//!
//! `tokio-echo [--threads 0] [--listen 127.0.0.1:0]`; 0 threads is the current-thread runtime. All frames that have
//! arrived are answered before one flush, as a service that cares would do it.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use seamio_echo::{Arguments, listen};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

fn main() -> io::Result<()> {
    let arguments = Arguments::of_process();
    let at: SocketAddr = arguments.get("--listen", "127.0.0.1:0".parse().expect("an address"));
    let threads = arguments.get("--threads", 0);
    let runtime = match threads {
        0 => tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?,
        _ => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_io()
            .build()?,
    };
    runtime.block_on(async {
        let listener = TcpListener::from_std(listen(at)?)?;
        println!("listening on {}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(async move {
                let _ = serve(stream).await;
            });
        }
    })
}

async fn serve(stream: TcpStream) -> io::Result<()> {
    let mut framed = Framed::new(stream, LengthDelimitedCodec::new());
    framed.set_backpressure_boundary(64 << 10);
    while let Some(frame) = framed.next().await {
        framed.feed(frame?.freeze()).await?;
        while let Some(more) = framed.next().now_or_never() {
            match more {
                Some(frame) => framed.feed(frame?.freeze()).await?,
                None => return SinkExt::<Bytes>::flush(&mut framed).await,
            }
        }
        SinkExt::<Bytes>::flush(&mut framed).await?;
    }
    Ok(())
}
