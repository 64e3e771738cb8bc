//! Coming to terms, and failing to.

use super::certificates::{Dates, self_signed};
use super::*;

#[test]
fn every_step_and_every_split_leads_to_the_same_terms() {
    for versions in VERSIONS {
        let mut world = World::speaking(versions);
        world.server.client_auth = ClientAuth::Required(Pem::text(world.authority.pem()));
        world.client.identity = Some(identity(&world.authority.issue(&["client.test"])));
        for step in [1, 2, 3, 4, 5, 6, 7, 64, 100, 1000] {
            let mut pair = world.pair();
            pair.settle(step).expect("handshake");
            assert!(pair.client.layer.is_established() && pair.server.layer.is_established());
            pair.client.say(b"hello");
            pair.server.say(b"welcome");
            pair.settle(step).expect("talks");
            assert_eq!(pair.server.heard(), b"hello");
            assert_eq!(pair.client.heard(), b"welcome");
        }
        // One cut at each place of the first flights.
        let (client, server) = world.configs();
        let hello = Pair::new(&client, &server).client.out.len();
        for cut in 1..hello {
            let mut pair = Pair::new(&client, &server);
            let first = pair.client.out.split_to(cut);
            pair.server.take(&first).expect("a part");
            assert!(pair.server.out.is_empty(), "half a hello has no answer");
            let answer = |pair: &mut Pair| {
                let rest = pair.client.out.split();
                pair.server.take(&rest).expect("the rest");
                pair.server.out.len()
            };
            let length = answer(&mut pair);
            let cut = cut % length;
            let first = pair.server.out.split_to(cut);
            pair.client.take(&first).expect("a part");
            pair.settle(usize::MAX).expect("handshake");
            assert!(pair.server.layer.is_established());
        }
    }
}

#[test]
fn a_peer_is_described() {
    for (versions, version, suite) in [
        (
            Versions::Only1_2,
            TlsVersion::V1_2,
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        ),
        (Versions::Both, TlsVersion::V1_3, "TLS13_AES_256_GCM_SHA384"),
    ] {
        let mut world = World::speaking(versions);
        world.server.alpn = vec![b"two".to_vec(), b"one".to_vec()];
        world.client.alpn = vec![b"one".to_vec(), b"two".to_vec()];
        let issued = world.authority.issue(&["client.test"]);
        world.server.client_auth = ClientAuth::Optional(Pem::text(world.authority.pem()));
        world.client.identity = Some(identity(&issued));
        let pair = world.pair();
        assert_eq!(pair.client.layer.peer(), None, "nothing is known yet");
        let pair = pair.established();
        let client = pair.client.layer.peer().expect("established");
        let server = pair.server.layer.peer().expect("established");
        for end in [&client, &server] {
            assert_eq!(
                end.alpn.as_deref(),
                Some(&b"two"[..]),
                "the server's favourite"
            );
            assert_eq!(end.server_name.as_deref(), Some("server.test"));
            assert_eq!(end.version, version);
            assert_eq!(end.cipher_suite, suite);
            assert!(!end.resumed);
            assert_eq!(end.certificates.len(), 1);
        }
        let shown = Pem::text(&*issued.chain).certificates().expect("parses");
        assert_eq!(server.certificates[0], shown[0].to_vec());
        assert_ne!(client.certificates, server.certificates);
    }
}

#[test]
fn an_address_has_no_name_to_ask_for_and_is_verified_all_the_same() {
    let mut world = World::new();
    world.server.identity = identity(&world.authority.issue(&["192.0.2.7"]));
    let (client, server) = world.configs();
    let mut pair = Pair::new(&client, &server);
    pair.client = End::new(client.layer("192.0.2.7").expect("client"));
    pair.client
        .layer
        .start(&mut pair.client.out)
        .expect("starts");
    let pair = pair.established();
    assert_eq!(pair.server.layer.peer().expect("peer").server_name, None);
    let name = pair.client.layer.peer().expect("peer").server_name;
    assert_eq!(name.as_deref(), Some("192.0.2.7"));
    let refused = client.layer("").expect_err("a host without a name");
    assert_eq!(
        refused,
        LayerError::Handshake("not a server name: \"\"".into())
    );
}

#[test]
fn the_name_that_was_configured_wins_over_the_host() {
    let mut world = World::new();
    world.client.server_name = Some("server.test".into());
    let (client, server) = world.configs();
    let mut pair = Pair::new(&client, &server);
    pair.client = End::new(client.layer("10.0.0.1").expect("client"));
    pair.client
        .layer
        .start(&mut pair.client.out)
        .expect("starts");
    pair.established();
}

fn says(error: &LayerError, text: &str) {
    assert!(
        matches!(error, LayerError::Handshake(what) | LayerError::Protocol(what) if what.contains(text)),
        "{error:?} does not say {text:?}"
    );
}

#[test]
fn a_server_that_is_not_trusted_is_refused_and_told_why() {
    for versions in VERSIONS {
        let world = World::speaking(versions);
        let refuse = |world: &World, own: &str, told: &str| {
            let (client, server) = world.pair().fails();
            assert!(matches!(client, LayerError::Handshake(_)), "{client:?}");
            says(&client, own);
            says(&server, told);
        };
        let stranger = Authority::new("authority");
        let mut other = World::speaking(versions);
        other.client.trust = Trust::Roots(Pem::text(stranger.pem()));
        refuse(&other, "BadSignature", "DecryptError");
        let stranger = Authority::new("another name");
        other.client.trust = Trust::Roots(Pem::text(stranger.pem()));
        refuse(&other, "UnknownIssuer", "UnknownCA");

        let mut other = World::speaking(versions);
        let expired = other.authority.issue_dated(&["server.test"], Dates::Past);
        other.server.identity = identity(&expired);
        refuse(&other, "expired", "CertificateExpired");

        let mut other = World::speaking(versions);
        other.server.identity = identity(&other.authority.issue(&["another.test"]));
        refuse(&other, "not valid for name", "BadCertificate");
        drop(world);
    }
}

#[test]
fn a_client_that_is_not_trusted_is_refused_and_told_why() {
    for versions in VERSIONS {
        let mut world = World::speaking(versions);
        let roots = Pem::text(world.authority.pem());
        world.server.client_auth = ClientAuth::Required(roots.clone());
        let (client, server) = world.pair().fails();
        says(&server, "no certificates");
        says(&client, "CertificateRequired");

        let stranger = Authority::new("stranger");
        world.client.identity = Some(identity(&stranger.issue(&["client.test"])));
        for auth in [
            ClientAuth::Required(roots.clone()),
            ClientAuth::Optional(roots),
        ] {
            world.server.client_auth = auth;
            let (client, server) = world.pair().fails();
            says(&server, "UnknownIssuer");
            says(&client, "UnknownCA");
        }
        world.client.identity = None;
        let pair = world.pair().established();
        assert!(
            pair.server
                .layer
                .peer()
                .expect("peer")
                .certificates
                .is_empty()
        );
    }
}

#[test]
fn one_certificate_can_be_trusted_by_hand_and_no_other() {
    for versions in VERSIONS {
        let mut world = World::speaking(versions);
        let shown = self_signed(&["whatever.test"], Dates::Past);
        world.server.identity = identity(&shown);
        world.client.trust =
            Trust::OnlyThisCertificateWhateverItsNameAndDates(Pem::text(&*shown.chain));
        world.pair().established();
        let same_name = self_signed(&["whatever.test"], Dates::Past);
        world.server.identity = identity(&same_name);
        let (client, server) = world.pair().fails();
        says(&client, "ApplicationVerificationFailure");
        says(&server, "AccessDenied");
    }
}

#[test]
fn protocols_that_have_nothing_in_common_end_the_handshake() {
    for versions in VERSIONS {
        let mut world = World::speaking(versions);
        world.server.alpn = vec![b"one".to_vec()];
        world.client.alpn = vec![b"two".to_vec()];
        let (client, server) = world.pair().fails();
        says(&client, "NoApplicationProtocol");
        says(&server, "peer doesn't support any known protocol");
        world.client.alpn.clear();
        let pair = world.pair().established();
        assert_eq!(pair.server.layer.peer().expect("peer").alpn, None);
    }
    let mut world = World::speaking(Versions::Only1_2);
    world.client.versions = Versions::Only1_3;
    let (client, server) = world.pair().fails();
    says(&client, "ProtocolVersion");
    says(&server, "incompatible");
}

#[test]
fn the_second_connection_is_resumed() {
    for versions in VERSIONS {
        let mut world = World::speaking(versions);
        world.server.client_auth = ClientAuth::Required(Pem::text(world.authority.pem()));
        world.client.identity = Some(identity(&world.authority.issue(&["client.test"])));
        let (client, server) = world.configs();
        let resumed = |server: &ServerTls| {
            let pair = Pair::new(&client, server).established();
            let ends = [&pair.client, &pair.server].map(|end| end.layer.peer().expect("peer"));
            assert_eq!(ends[0].resumed, ends[1].resumed);
            assert_eq!(ends[1].server_name.as_deref(), Some("server.test"));
            assert_eq!(ends[1].certificates.len(), 1, "known from the first time");
            ends[0].resumed
        };
        assert!(!resumed(&server));
        assert!(resumed(&server.clone()) && resumed(&server));
        server.reload().expect("reloads");
        assert!(
            !resumed(&server),
            "a reload makes everybody prove who he is"
        );
        assert!(resumed(&server));
        client.reload().expect("reloads");
        assert!(!resumed(&server));
        assert!(resumed(&server));

        world.server.sessions = 0;
        let (_, forgetful) = world.configs();
        assert!(!resumed(&forgetful));
        assert!(!resumed(&forgetful));
        world.client.sessions = 0;
        let (forgetful, _) = world.configs();
        for _ in 0..2 {
            let pair = Pair::new(&forgetful, &server).established();
            assert!(!pair.server.layer.peer().expect("peer").resumed);
        }
    }
}

#[test]
fn what_is_no_hello_is_refused_with_an_alert() {
    let world = World::new();
    let (client, server) = world.configs();
    let http = b"GET / HTTP/1.1\r\nHost: server.test\r\n\r\n";
    let garbage: [(&[u8], &str); 5] = [
        (http, "plain HTTP"),
        (&[0xff; 300], "InvalidContentType"),
        (&[0; 100], "InvalidContentType"),
        (b"\x16\x03\x01\xff\xff\x01", "MessageTooLarge"),
        (b"\x17\x03\x03\x00\x05hello", "unexpected message"),
    ];
    for (bytes, text) in garbage {
        let mut pair = Pair::new(&client, &server);
        let error = pair.server.take(bytes).expect_err("no hello");
        assert!(matches!(error, LayerError::Handshake(_)), "{error:?}");
        says(&error, text);
        assert_eq!(pair.server.out[..3], [21, 3, 3], "an alert, TLS 1.2");
        assert_eq!(pair.server.out.len(), 7, "one alert");
        assert!(!pair.server.layer.is_established());
        pair.server.take(b"more").expect_err("it stays refused");
        pair.server
            .layer
            .send(b"x", &mut pair.server.out)
            .expect_err("nothing is sent");
        assert_eq!(pair.server.out.len(), 7);
        pair.server.layer.finish(&mut pair.server.out);
        assert_eq!(pair.server.out.len(), 7, "no goodbye after an alert");
    }
    let mut pair = Pair::new(&client, &server);
    let error = pair
        .client
        .take(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        .expect_err("no hello");
    says(&error, "plain HTTP");
}

#[test]
fn random_changes_of_the_handshake_end_in_an_error_or_do_no_harm() {
    for versions in VERSIONS {
        let (client, server) = World::speaking(versions).configs();
        let mut state = 1u64;
        let mut next = |below: usize| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) as usize % below
        };
        for _ in 0..100 {
            let mut pair = Pair::new(&client, &server);
            if next(2) == 0 {
                let bytes = pair.client.out.split();
                pair.server.take(&bytes).expect("hello");
            }
            let end = if pair.server.out.is_empty() {
                &mut pair.client
            } else {
                &mut pair.server
            };
            let at = next(end.out.len());
            end.out[at] ^= 1 << next(8);
            if next(4) == 0 {
                end.out.truncate(at + 1);
            }
            if let Err(failure) = pair.settle(1 + next(2000)) {
                let (Failure::Client(e) | Failure::Server(e)) = failure;
                assert!(matches!(e, LayerError::Handshake(_)), "{e:?}");
            }
        }
    }
}

#[test]
fn an_end_during_the_handshake_is_a_failed_handshake() {
    let world = World::new();
    let mut pair = world.pair();
    assert!(matches!(
        pair.client.layer.ended(),
        Err(LayerError::Handshake(_))
    ));
    assert!(matches!(
        pair.server.layer.ended(),
        Err(LayerError::Handshake(_))
    ));
    pair.server.layer.finish(&mut pair.server.out);
    assert!(pair.server.out.is_empty(), "no goodbye before the welcome");
    assert!(pair.server.layer.send(b"x", &mut pair.server.out).is_err());
}

#[test]
fn an_endless_handshake_message_is_bounded() {
    let (client, server) = World::new().configs();
    let mut pair = Pair::new(&client, &server);
    // A hello of almost 64 KiB in records of one byte: six bytes are kept for each.
    let mut hello = vec![1, 0, 0xff, 0x00];
    hello.resize(0xff00, 0);
    let mut error = None;
    for byte in hello {
        if let Err(e) = pair.server.take(&[22, 3, 1, 0, 1, byte]) {
            error = Some(e);
            break;
        }
    }
    let error = error.expect("a limit");
    assert_eq!(error, LayerError::Limit("bytes of a TLS handshake message"));
    assert!(pair.server.below.len() <= HELD_MAX + RECORD_MAX + 6);
    // One that announces more than is allowed is refused at once.
    let mut pair = Pair::new(&client, &server);
    let error = pair
        .server
        .take(&[22, 3, 1, 0, 4, 1, 1, 0, 0])
        .expect_err("too large");
    says(&error, "HandshakePayloadTooLarge");
}

#[test]
fn no_process_wide_default_is_read_or_set() {
    World::new().pair().established();
    assert!(rustls::crypto::CryptoProvider::get_default().is_none());
}
