//! Encrypted connections: what is verified, how to rotate certificates, what it costs.
//!
//! `ServerTls` belongs in the options of a listener, `ClientTls` in those of a connector; the endpoint is `tls://HOST:PORT`
//! or `wss://HOST:PORT/PATH`. Everything above, codec, handler, limits and watermarks, is as without. Feature `tls`.
//!
//! # What is verified
//!
//! | | by default | otherwise |
//! |---|---|---|
//! | a client, of its server | certificate chain up to the system's roots, dates, and the name or address connected to | `Trust::Roots`: these roots and no others; `ClientTlsOptions::server_name`: another name |
//! | | | `Trust::OnlyThisCertificateWhateverItsNameAndDates`: one certificate brought here by hand, byte for byte |
//! | a server, of its clients | nothing | `ClientAuth::Optional` or `Required`: a chain up to the roots given there |
//!
//! There is no switch that verifies nothing. A configuration of rustls made by hand can do what its author wants.
//! Neither revocation lists nor OCSP are looked at.
//!
//! What the handshake found out is in `Peer::tls` before `on_open`: the peer's certificates, the name asked for, the
//! application protocol agreed on, version, cipher suite, and whether an earlier session was resumed. A handler that wants more
//! than the chain, such as one certain client, reads it there and answers `Refused`.
//!
//! # What fails, and how it shows
//!
//! | what | where it shows |
//! |---|---|
//! | a file that is missing, not PEM, encrypted, or whose key belongs to another certificate | the error of `ServerTls::new` and the like names the file |
//! | a handshake that fails or takes longer than `handshake_timeout`, at a connector | `on_connect_error` with the reason, then the backoff |
//! | the same at a listener | a log line and `Metrics::handshake_failures`; no callback, since there was no session |
//! | a server that refuses the client's certificate, with TLS 1.3 | the session opens, then `on_error` says so and it closes with `CloseReason::Transport`: such a client is done before the server |
//! | bytes that were changed on the way | `on_error`, then `CloseReason::Transport` |
//! | an end without the protocol's goodbye, which an attacker could have cut | `on_error`, then `CloseReason::Truncated` |
//!
//! Where TLS has an alert for it, the peer gets that alert.
//!
//! # Rotating certificates
//!
//! Keep a clone of the `ServerTls` given to the listener. When the files have been replaced, call its `reload`: connections
//! made from then on get the new certificate, open ones go on. If anything is wrong with the new files, the old
//! certificate stays in use and the error says what to repair. `ClientTls::reload` does the same for trusted roots and a
//! client's own certificate. Sessions remembered for resumption are forgotten, so whoever is no longer trusted has to prove
//! himself anew. `replace` does it for configurations made by hand.
//!
//! # What it costs
//!
//! A full handshake is arithmetic of up to a millisecond on both ends, a resumed one less: `cargo bench --bench tls` tells for
//! a machine. Resumption is on by default on both sides. `Workers::handshakes` moves that arithmetic to the elastic
//! pool, so that a storm of new connections delays no open session; `Limits::handshakes` bounds how many are under way.
//!
//! Data cost one pass of the cipher each way and about 22 to 29 bytes on the wire per record. What is sent in one turn
//! shares records of up to 16 KiB; the first 16 KiB of a connection go in records that fit a packet. The TLS library allocates a
//! vector per record, in contrast to plain connections, which allocate nothing.
