//! The handshake: the standard's example, every split, everything refused.

use super::*;
use crate::net::transport::ws::WsOrigins;

/// RFC 6455, 1.3.
const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://example.com\r\n\
    Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Version: 13\r\n\r\n";

const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n";

fn chat() -> WsServer {
    WsServer {
        paths: vec!["/chat".into()],
        subprotocols: vec!["other".into(), "chat".into(), "superchat".into()],
        ..WsServer::default()
    }
}

/// The first line of what a server answers, and its error.
fn refused(options: WsServer, request: &str) -> (String, String) {
    let mut server = End::server(options);
    server.feed(request.as_bytes());
    let answer = String::from_utf8(server.said()).expect("text");
    let LayerError::Handshake(why) = server.error() else {
        panic!("{:?}", server.ended);
    };
    assert!(
        answer.ends_with("\n") && answer.contains("\r\nConnection: close\r\n"),
        "{answer}"
    );
    let mut ended = WebSocket::server(Arc::new(WsServer::default()), 1, 1);
    assert_eq!(ended.ended(), Err(LayerError::Truncated));
    (answer, why.to_string())
}

#[test]
fn a_server_answers_the_standards_example_at_every_split() {
    for cut in 0..REQUEST.len() {
        let mut server = End::server(chat());
        server.feed(&REQUEST.as_bytes()[..cut]);
        assert!(!server.layer.is_established() && server.out.is_empty());
        server.feed(&REQUEST.as_bytes()[cut..]);
        assert_eq!(
            String::from_utf8(server.said()).as_deref(),
            Ok(ANSWER),
            "cut at {cut}"
        );
    }
    let mut server = End::server(chat());
    for byte in REQUEST.as_bytes() {
        server.feed(&[*byte]);
    }
    assert_eq!(String::from_utf8(server.said()).as_deref(), Ok(ANSWER));
    let peer = server.layer.peer.as_ref().expect("a peer");
    assert_eq!((peer.path.as_str(), peer.query.as_deref()), ("/chat", None));
    assert_eq!(peer.origin.as_deref(), Some("http://example.com"));
    assert_eq!(peer.subprotocol.as_deref(), Some("chat"));
    assert_eq!(peer.header("HOST"), Some("server.example.com"));
    assert_eq!((peer.headers.len(), peer.deflate), (7, false));
}

#[test]
fn what_follows_the_request_at_once_is_not_lost() {
    let mut server = End::server(chat());
    let mut bytes = REQUEST.as_bytes().to_vec();
    bytes.extend_from_slice(&masked(0x82, b"eager"));
    server.feed(&bytes);
    assert_eq!(server.heard(), [b"eager"]);
    let mut client = End::client(WsClient::default());
    let mut server = End::server(WsServer::default());
    server.feed(&client.said());
    server.send(b"first");
    client.feed(&server.said());
    assert_eq!(client.heard(), [b"first"]);
}

#[test]
fn a_target_may_have_a_query_and_a_host() {
    for target in [
        "/chat?a=b&c",
        "http://server.example.com/chat?a=b&c",
        "ws://h/chat?a=b&c",
    ] {
        let mut server = End::server(chat());
        server.feed(REQUEST.replace("/chat", target).as_bytes());
        let peer = server.layer.peer.as_ref().expect("a peer");
        assert_eq!(
            (peer.path.as_str(), peer.query.as_deref()),
            ("/chat", Some("a=b&c"))
        );
    }
    let anything = WsServer {
        paths: Vec::new(),
        ..chat()
    };
    let mut server = End::server(anything);
    server.feed(REQUEST.replace("/chat", "/some/where").as_bytes());
    assert_eq!(
        server.layer.peer.as_ref().expect("a peer").path,
        "/some/where"
    );
}

#[test]
fn lists_may_be_spread_and_names_in_any_case() {
    let request = REQUEST
        .replace("Connection: Upgrade", "CONNECTION: keep-alive, UPGRADE")
        .replace("Upgrade: websocket", "upgrade: WebSocket")
        .replace("chat, superchat", "x\r\nsec-websocket-protocol:superchat");
    let mut server = End::server(chat());
    server.feed(request.as_bytes());
    let peer = server.layer.peer.as_ref().expect("a peer");
    assert_eq!(peer.subprotocol.as_deref(), Some("superchat"));
    let mut server = End::server(WsServer {
        subprotocols: Vec::new(),
        ..chat()
    });
    server.feed(REQUEST.as_bytes());
    assert_eq!(
        server.layer.peer.as_ref().expect("a peer").subprotocol,
        None
    );
}

#[test]
fn refused_requests_get_a_status_and_a_reason() {
    let cases: &[(&str, &str, &str, &str)] = &[
        ("GET /chat", "GET /other", "404 Not Found", "path /other"),
        ("GET /chat", "GET /chat/", "404 Not Found", "path /chat/"),
        ("GET", "POST", "405 Method Not Allowed", "method POST"),
        ("HTTP/1.1", "HTTP/1.0", "400 Bad Request", "not HTTP/1.1"),
        (
            "GET /chat HTTP/1.1",
            "hello",
            "400 Bad Request",
            "malformed request",
        ),
        (
            "GET /chat",
            "GET chat",
            "400 Bad Request",
            "a target that is no path",
        ),
        (
            "GET /chat",
            "GET /chat#a",
            "400 Bad Request",
            "a target that is no path",
        ),
        (
            "Host: server.example.com\r\n",
            "",
            "400 Bad Request",
            "no host",
        ),
        (
            "Host: ",
            "Host: a\r\nHost: ",
            "400 Bad Request",
            "header Host twice",
        ),
        (
            "Origin: ",
            "Origin: a\r\nOrigin: ",
            "400 Bad Request",
            "header Origin twice",
        ),
        (
            "Host: ",
            "Content-Length: 5\r\nHost: ",
            "400 Bad Request",
            "a body",
        ),
        (
            "Host: ",
            "Transfer-Encoding: chunked\r\nHost: ",
            "400 Bad Request",
            "a body",
        ),
        (
            "Upgrade: websocket\r\n",
            "",
            "426 Upgrade Required",
            "no upgrade",
        ),
        (
            "Upgrade: websocket",
            "Upgrade: h2c",
            "426 Upgrade Required",
            "no upgrade",
        ),
        (
            "Connection: Upgrade",
            "Connection: close",
            "426 Upgrade Required",
            "no upgrade",
        ),
        (
            "Version: 13",
            "Version: 8",
            "426 Upgrade Required",
            "version 8",
        ),
        (
            "Sec-WebSocket-Version: 13\r\n",
            "",
            "426 Upgrade Required",
            "no version",
        ),
        ("Sec-WebSocket-Key", "X-Key", "400 Bad Request", "no key"),
        (
            "dGhlIHNhbXBsZSBub25jZQ==",
            "dGhlIHNhbXBsZSBub25jZQ",
            "400 Bad Request",
            "a key that",
        ),
        (
            "dGhlIHNhbXBsZSBub25jZQ==",
            "dGhlIHNhbXBsZSBub25jZR==",
            "400 Bad Request",
            "a key that",
        ),
        (
            "dGhlIHNhbXBsZSBub25jZQ==",
            "bGl0dGxl",
            "400 Bad Request",
            "a key that",
        ),
        (
            "http://example.com",
            "http://evil.example",
            "403 Forbidden",
            "origin http://evil.example",
        ),
        (
            "Origin: ",
            "Bad\u{e9} Name: ",
            "400 Bad Request",
            "malformed request",
        ),
    ];
    for (from, to, status, why) in cases {
        let options = WsServer {
            origins: WsOrigins::Listed(vec!["http://example.com".into()]),
            ..chat()
        };
        assert!(REQUEST.contains(from), "{from}");
        let (answer, said) = refused(options, &REQUEST.replacen(from, to, 1));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{to}: {answer}"
        );
        assert!(
            said.starts_with(&format!("refused with {status}: {why}")),
            "{to}: {said}"
        );
        let upgrade = answer.contains("\r\nSec-WebSocket-Version: 13\r\n");
        assert_eq!(upgrade, status.starts_with("426"), "{answer}");
        assert_eq!(
            answer.contains("\r\nAllow: GET\r\n"),
            status.starts_with("405"),
            "{answer}"
        );
    }
}

#[test]
fn origins_are_judged_as_listed() {
    let listed = vec!["http://example.com".to_owned()];
    let nobody = REQUEST.replace("Origin: http://example.com\r\n", "");
    let open = |origins, request: &str| {
        let mut server = End::server(WsServer { origins, ..chat() });
        server.feed(request.as_bytes());
        server.layer.is_established()
    };
    assert!(open(WsOrigins::Any, REQUEST) && open(WsOrigins::Any, &nobody));
    assert!(open(WsOrigins::Listed(listed.clone()), REQUEST));
    assert!(open(WsOrigins::Listed(listed.clone()), &nobody));
    assert!(open(WsOrigins::Only(listed.clone()), REQUEST));
    assert!(!open(WsOrigins::Only(listed), &nobody));
    assert!(!open(WsOrigins::Listed(Vec::new()), REQUEST));
}

#[test]
fn a_request_beyond_its_limit_is_refused_before_it_ends() {
    let options = WsServer {
        max_head: 1000,
        ..chat()
    };
    let endless = format!("GET /chat HTTP/1.1\r\nX: {}", "y".repeat(1000));
    let (answer, why) = refused(options, &endless);
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert_eq!(
        why,
        "refused with 431 Request Header Fields Too Large: request too large"
    );
    let many = format!("GET /chat HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
    assert!(refused(chat(), &many).0.starts_with("HTTP/1.1 431 "));
    let exact = WsServer {
        max_head: REQUEST.len(),
        ..chat()
    };
    let mut server = End::server(exact);
    server.feed(REQUEST.as_bytes());
    assert!(server.layer.is_established());
    let short = WsServer {
        max_head: REQUEST.len() - 1,
        ..chat()
    };
    assert!(refused(short, REQUEST).0.starts_with("HTTP/1.1 431 "));
}

#[test]
fn another_protocol_is_told_so_at_its_first_bytes() {
    let (answer, why) = refused(chat(), "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(why, "refused with 400 Bad Request: not an HTTP request");
}

#[test]
fn text_of_a_peer_cannot_forge_a_line_of_the_log() {
    let request = REQUEST.replace("http://example.com", "a\u{7f}b");
    let options = WsServer {
        origins: WsOrigins::Listed(Vec::new()),
        ..chat()
    };
    let mut server = End::server(options);
    server.feed(request.as_bytes());
    assert!(!format!("{}", server.error()).contains('\u{7f}'));
}

#[test]
fn a_client_asks_for_what_its_options_say() {
    let mut client = End::client(WsClient {
        origin: Some("https://app.example".into()),
        subprotocols: vec!["v2".into(), "v1".into()],
        headers: vec![("Authorization".into(), "Bearer abc".into())],
        ..WsClient::default()
    });
    let request = String::from_utf8(client.said()).expect("text");
    let (head, rest) = request.split_once("Sec-WebSocket-Key: ").expect("a key");
    assert_eq!(
        head,
        "GET / HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\n"
    );
    assert_eq!(
        &rest[24..],
        "\r\nOrigin: https://app.example\r\nSec-WebSocket-Protocol: v2, v1\r\n\
         Authorization: Bearer abc\r\n\r\n"
    );
    let mut server = End::server(WsServer {
        subprotocols: vec!["v1".into()],
        ..WsServer::default()
    });
    server.feed(request.as_bytes());
    client.feed(&server.said());
    let (of_client, of_server) = (client.layer.peer.as_ref(), server.layer.peer.as_ref());
    let of_client = of_client.expect("a peer");
    assert_eq!(of_client.subprotocol.as_deref(), Some("v1"));
    assert_eq!(of_client.header("upgrade"), Some("websocket"));
    assert_eq!(
        of_server.expect("a peer").header("authorization"),
        Some("Bearer abc")
    );
}

/// The accept key that belongs to what a client has asked.
fn granted(client: &mut End) -> String {
    let mut server = End::server(WsServer::default());
    server.feed(&client.said());
    String::from_utf8(server.said()).expect("text")
}

#[test]
fn a_client_understands_an_answer_at_every_split() {
    let mut client = End::client(WsClient::default());
    let answer = granted(&mut client);
    for cut in 0..answer.len() {
        let mut client = End::client(WsClient::default());
        client.feed(&answer.as_bytes()[..cut]);
        assert!(!client.layer.is_established());
        client.feed(&answer.as_bytes()[cut..]);
        assert!(client.layer.is_established(), "cut at {cut}");
    }
}

#[test]
fn a_client_says_what_the_server_answered() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "101 Switching Protocols",
            "403 Forbidden",
            "the server answered 403 Forbidden",
        ),
        (
            "101 Switching Protocols",
            "200 OK",
            "the server answered 200 OK",
        ),
        (
            "101 Switching Protocols",
            "301 Moved Permanently\r\nLocation: https://elsewhere.example/",
            "the server answered 301 Moved Permanently, see https://elsewhere.example/",
        ),
        ("HTTP/1.1", "SSH-2.0", "the server's answer is malformed"),
        (
            "Upgrade: websocket",
            "Upgrade: x",
            "the server answered 101 without an upgrade",
        ),
        (
            "Connection: Upgrade",
            "Connection: close",
            "the server answered 101 without an upgrade",
        ),
        (
            "Accept: ",
            "Accept: x",
            "the server answered the key with x",
        ),
        (
            "Sec-WebSocket-Accept",
            "X-Accept",
            "the server answered the key with nothing",
        ),
        (
            "\r\n\r\n",
            "\r\nSec-WebSocket-Protocol: v9\r\n\r\n",
            "the server chose subprotocol v9, which was not offered",
        ),
        (
            "\r\n\r\n",
            "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
            "the server chose extension permessage-deflate, which was not offered",
        ),
    ];
    for (from, to, why) in cases {
        let mut client = End::client(WsClient {
            subprotocols: vec!["v1".into()],
            ..WsClient::default()
        });
        let answer = granted(&mut client).replacen(from, to, 1);
        client.feed(answer.as_bytes());
        let LayerError::Handshake(said) = client.error() else {
            panic!("{:?}", client.ended);
        };
        assert!(said.starts_with(why), "{to}: {said}");
        assert!(client.out.is_empty());
    }
    let mut client = End::client(WsClient::default());
    client.feed(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 9\r\n\r\nlog in!\r\n");
    assert_eq!(
        client.error(),
        &LayerError::Handshake("the server answered 401 Unauthorized: log in!".into())
    );
    let mut client = End::client(WsClient {
        max_head: 100,
        ..WsClient::default()
    });
    client.feed(&[b'H'; 101]);
    assert_eq!(
        client.error(),
        &LayerError::Handshake("the server's answer is too large".into())
    );
}

#[test]
fn keys_differ_between_connections_and_repeat_with_their_seed() {
    let request = |seed| {
        let target = WsTarget {
            host: "h".into(),
            path: "/".into(),
        };
        let options = Arc::new(WsClient::default());
        End::new(WebSocket::client(options, target, MAX_MESSAGE, seed)).said()
    };
    assert_eq!(request(1), request(1));
    assert_ne!(request(1), request(2));
}
