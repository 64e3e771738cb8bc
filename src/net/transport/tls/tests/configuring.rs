//! Errors of configurations say which file and what is wrong with it.

use std::io;

use super::certificates::Folder;
use super::*;

fn server(chain: impl Into<Pem>, key: impl Into<Pem>) -> Result<ServerTls, TlsError> {
    ServerTls::new(ServerTlsOptions::new(Identity::new(chain, key)))
}

fn client(roots: impl Into<Pem>) -> Result<ClientTls, TlsError> {
    ClientTls::new(ClientTlsOptions {
        trust: Trust::Roots(roots.into()),
        ..ClientTlsOptions::default()
    })
}

#[test]
fn files_are_read_and_complaints_name_them() {
    let folder = Folder::new("configuring");
    let authority = Authority::new("authority");
    let (one, two) = (
        authority.issue(&["one.test"]),
        authority.issue(&["two.test"]),
    );
    let chain = folder.put("chain.pem", &one.chain);
    let key = folder.put("key.pem", &one.key);
    let both = folder.put("both.pem", format!("{}{}", one.key, one.chain));
    ServerTls::from_files(&chain, &key).expect("good files");
    server(&*both, &*both).expect("one file for both");
    ClientTls::trusting(folder.put("roots.pem", authority.pem())).expect("good roots");

    let missing = folder.0.join("missing.pem");
    let name = missing.display().to_string();
    let errors = [
        server(&*missing, &*key).expect_err("missing"),
        server(&*chain, &*missing).expect_err("missing"),
        client(&*missing).expect_err("missing"),
    ];
    for error in errors {
        let TlsError::Unreadable { source, kind, why } = &error else {
            panic!("{error:?}");
        };
        assert_eq!((source, *kind), (&name, io::ErrorKind::NotFound));
        assert!(why.contains("No such file"), "{why}");
        assert!(error.to_string().contains(&name));
    }
    let error = server(&*folder.0, &*key).expect_err("a directory");
    assert!(matches!(error, TlsError::Unreadable { .. }), "{error:?}");

    let no_certificate = |pem: &std::path::Path, has: &str| match server(pem, &*key) {
        Err(TlsError::NoCertificate { source, found }) => {
            assert_eq!(source, pem.display().to_string());
            assert_eq!(found, has);
        }
        other => panic!("{other:?}"),
    };
    no_certificate(&key, "PRIVATE KEY");
    no_certificate(&folder.put("empty.pem", ""), "nothing");
    no_certificate(&folder.put("text.pem", "hello\n"), "no PEM section");
    no_certificate(
        &folder.put("chain.der", [0x30, 0x82, 1, 0, 0]),
        "DER, which must be converted to PEM",
    );
    let error = server(&*chain, &*chain).expect_err("no key");
    assert_eq!(
        error.to_string(),
        format!("no private key in {}: it has CERTIFICATE", chain.display())
    );

    let other = folder.put("other.pem", &two.key);
    let error = server(&*chain, &*other).expect_err("another's key");
    let expected = TlsError::KeyMismatch {
        chain: chain.display().to_string(),
        key: other.display().to_string(),
        belongs_to: None,
    };
    assert_eq!(error, expected);
    let wrong_order = folder.put("order.pem", format!("{}{}", one.chain, two.chain));
    let error = server(&*wrong_order, &*other).expect_err("wrong order");
    assert!(
        error
            .to_string()
            .ends_with("but to number 2, which must come first")
    );
}

#[test]
fn broken_and_encrypted_text_is_told_apart() {
    let issued = Authority::new("authority").issue(&["one.test"]);
    let cut = &issued.chain[..issued.chain.len() / 2];
    let error = server(Pem::text(cut), Pem::text(&*issued.key)).expect_err("cut");
    assert!(error.to_string().contains("ends before"), "{error}");
    let garbled = issued
        .chain
        .replacen("MII", "M!!", 1)
        .replacen("MIH", "M!!", 1);
    let error = server(Pem::text(garbled), Pem::text(&*issued.key)).expect_err("garbled");
    assert!(matches!(error, TlsError::Malformed { .. }), "{error:?}");
    let nonsense = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    let error = server(Pem::text(nonsense), Pem::text(&*issued.key)).expect_err("no certificate");
    assert!(matches!(error, TlsError::Malformed { .. }), "{error:?}");
    let error = client(Pem::text(nonsense)).expect_err("no root");
    assert!(
        error.to_string().contains("certificate 1 is no root"),
        "{error}"
    );
    let nonsense = nonsense.replace("CERTIFICATE", "PRIVATE KEY");
    let error = server(Pem::text(&*issued.chain), Pem::text(nonsense)).expect_err("no key");
    assert!(matches!(error, TlsError::Malformed { .. }), "{error:?}");

    let pkcs8 = issued.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\naGVsbG8=\n\
               -----END RSA PRIVATE KEY-----\n";
    for key in [&*pkcs8, old, &*old.replace('\n', "\r\n")] {
        let error = server(Pem::text(&*issued.chain), Pem::text(key)).expect_err("encrypted");
        assert!(matches!(error, TlsError::EncryptedKey { .. }), "{error:?}");
    }
}

#[cfg(unix)]
#[test]
fn files_that_may_not_be_read_are_reported_as_such() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("permissions");
    let issued = Authority::new("authority").issue(&["one.test"]);
    let key = folder.put("key.pem", &issued.key);
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o000)).expect("permissions");
    match std::fs::read(&key) {
        Err(_) => {
            let error = server(Pem::text(&*issued.chain), &*key).expect_err("no permission");
            assert!(
                matches!(
                    &error,
                    TlsError::Unreadable {
                        kind: io::ErrorKind::PermissionDenied,
                        ..
                    }
                ),
                "{error:?}"
            );
        }
        Ok(_) => {
            // Root may read everything.
            server(Pem::text(&*issued.chain), &*key).expect("root reads it");
        }
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let mut world = World::new();
    for wrong in [Vec::new(), vec![b'x'; 256]] {
        world.server.alpn = vec![wrong.clone()];
        let error = ServerTls::new(world.server.clone()).expect_err("no protocol");
        assert!(matches!(error, TlsError::Refused(_)), "{error:?}");
        world.client.alpn = vec![wrong];
        ClientTls::new(world.client.clone()).expect_err("no protocol");
    }
    world.client.alpn.clear();
    for wrong in ["", "no name", "a..b", "localhost:80", "[::1]"] {
        world.client.server_name = Some(wrong.into());
        let error = ClientTls::new(world.client.clone()).expect_err("no name");
        assert_eq!(error, TlsError::ServerName(wrong.into()));
    }
    for right in ["localhost", "a-b.c_d.test", "10.0.0.1", "::1"] {
        world.client.server_name = Some(right.into());
        ClientTls::new(world.client.clone()).expect("a name");
    }
    for auth in [ClientAuth::Required, ClientAuth::Optional] {
        world.server.client_auth = auth(Pem::text(""));
        let error = ServerTls::new(world.server.clone()).expect_err("no roots");
        assert!(matches!(error, TlsError::NoCertificate { .. }), "{error:?}");
    }
}

#[test]
fn a_reload_takes_new_files_and_keeps_the_old_when_they_are_bad() {
    let folder = Folder::new("reload");
    let authority = Authority::new("authority");
    let (old, new) = (
        authority.issue(&["server.test"]),
        authority.issue(&["server.test"]),
    );
    let chain = folder.put("chain.pem", &old.chain);
    let key = folder.put("key.pem", &old.key);
    let server = ServerTls::from_files(&chain, &key).expect("files");
    let client = client(Pem::text(authority.pem())).expect("roots");
    let shown = || {
        let pair = Pair::new(&client, &server).established();
        pair.client.layer.peer().expect("peer").certificates[0].clone()
    };
    let der = |issued: &Issued| Pem::text(&*issued.chain).certificates().expect("pem")[0].to_vec();
    let open = Pair::new(&client, &server).established();
    assert_eq!(shown(), der(&old));
    folder.put("chain.pem", &new.chain);
    assert!(matches!(
        server.clone().reload(),
        Err(TlsError::KeyMismatch { .. })
    ));
    assert_eq!(shown(), der(&old), "the old one stays in force");
    folder.put("key.pem", &new.key);
    server.clone().reload().expect("reloads");
    assert_eq!(shown(), der(&new));
    let mut open = open;
    open.client.say(b"still here");
    open.settle(usize::MAX).expect("open connections go on");
    assert_eq!(open.server.heard(), b"still here");
}

#[test]
fn ready_made_configurations_work_without_early_data() {
    let world = World::new();
    let (client, server) = world.configs();
    let mut by_hand = rustls::ServerConfig::clone(&server.config());
    by_hand.max_early_data_size = 1000;
    let server = ServerTls::from_config(Arc::new(by_hand.clone()));
    let mut by_hand_too = rustls::ClientConfig::clone(&client.config());
    by_hand_too.enable_early_data = true;
    let by_hand_too = Arc::new(by_hand_too);
    let client = ClientTls::from_config(Arc::clone(&by_hand_too), Some("server.test"));
    let client = client.expect("name");
    for resumed in [false, true] {
        let pair = Pair::new(&client, &server).established();
        assert_eq!(pair.client.layer.peer().expect("peer").resumed, resumed);
    }
    assert_eq!(server.config().max_early_data_size, 0);
    assert!(!client.config().enable_early_data);
    assert_eq!(server.reload(), Err(TlsError::NothingToReload));
    assert_eq!(client.reload(), Err(TlsError::NothingToReload));
    server.replace(Arc::new(by_hand));
    client.replace(by_hand_too);
    assert_eq!(server.config().max_early_data_size, 0);
    assert!(!client.config().enable_early_data);
    Pair::new(&client, &server).established();
    let error = ClientTls::from_config(client.config(), Some(""));
    assert!(matches!(error, Err(TlsError::ServerName(_))));
}

#[test]
fn secrets_are_not_printed_and_clones_are_equal() {
    let world = World::new();
    let (client, server) = world.configs();
    let text = format!("{server:?} {client:?} {:?}", world.server);
    assert!(!text.contains("BEGIN"), "{text}");
    assert!(text.contains("the given text of"), "{text}");
    assert!(server == server.clone() && client == client.clone());
    let (other_client, other_server) = world.configs();
    assert!(server != other_server && client != other_client);
}
