//! Agreeing on permessage-deflate (RFC 6455, 9.1; RFC 7692, 7.1).

use std::fmt::Write;

use super::options::{WsContext, WsDeflate};

/// What a connection's messages are compressed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Agreed {
    pub(super) level: u8,
    pub(super) min_bytes: usize,
    /// Of our messages.
    pub(super) window_bits: u8,
    pub(super) context: WsContext,
    pub(super) peer_context: WsContext,
}

/// What a client offers.
pub(super) fn offer(options: &WsDeflate) -> String {
    let mut text = String::from(NAME);
    if options.peer_context == WsContext::Fresh {
        text.push_str("; server_no_context_takeover");
    }
    if options.context == WsContext::Fresh {
        text.push_str("; client_no_context_takeover");
    }
    if options.peer_window_bits < BITS_MAX {
        put_bits(&mut text, "server", bits(options.peer_window_bits));
    }
    match bits(options.window_bits) {
        BITS_MAX => text.push_str("; client_max_window_bits"),
        less => put_bits(&mut text, "client", less),
    }
    text
}

/// The first offer of a client that a server can take, and what it answers. `None`: no compression.
pub(super) fn accept<'a>(
    options: &WsDeflate,
    headers: impl Iterator<Item = &'a str>,
) -> Option<(Agreed, String)> {
    for header in headers {
        for extension in split(header, ',') {
            let Some(asked) = Parameters::of(extension) else {
                continue;
            };
            if asked.server_bits == Some(None) {
                continue;
            }
            return Some(answer(options, &asked));
        }
    }
    None
}

fn answer(options: &WsDeflate, asked: &Parameters) -> (Agreed, String) {
    let mut text = String::from(NAME);
    let mut agreed = Agreed {
        level: options.level,
        min_bytes: options.min_bytes,
        window_bits: bits(options.window_bits),
        context: options.context,
        peer_context: options.peer_context,
    };
    if asked.server_fresh || agreed.context == WsContext::Fresh {
        agreed.context = WsContext::Fresh;
        text.push_str("; server_no_context_takeover");
    }
    if asked.client_fresh || agreed.peer_context == WsContext::Fresh {
        agreed.peer_context = WsContext::Fresh;
        text.push_str("; client_no_context_takeover");
    }
    let wanted = asked.server_bits.flatten();
    agreed.window_bits = agreed.window_bits.min(wanted.unwrap_or(BITS_MAX));
    if wanted.is_some() || agreed.window_bits < BITS_MAX {
        put_bits(&mut text, "server", agreed.window_bits);
    }
    // Only a client that named it understands it.
    if let Some(offered) = asked.client_bits {
        let peer = bits(options.peer_window_bits).min(offered.unwrap_or(BITS_MAX));
        if peer < BITS_MAX {
            put_bits(&mut text, "client", peer);
        }
    }
    (agreed, text)
}

/// What a client makes of the server's answer to its offer.
pub(super) fn confirm<'a>(
    options: &WsDeflate,
    headers: impl Iterator<Item = &'a str>,
) -> Result<Option<Agreed>, &'static str> {
    let mut chosen = None;
    for extension in headers.flat_map(|header| split(header, ',')) {
        let parameters = Parameters::of(extension).ok_or("an extension that was not offered")?;
        if chosen.replace(parameters).is_some() {
            return Err("the same extension twice");
        }
    }
    let Some(chosen) = chosen else {
        return Ok(None);
    };
    if options.peer_context == WsContext::Fresh && !chosen.server_fresh {
        return Err("no server_no_context_takeover, which was asked for");
    }
    match chosen.server_bits {
        Some(None) => return Err("server_max_window_bits without a number"),
        Some(Some(bits)) if bits > options.peer_window_bits => {
            return Err("a server_max_window_bits beyond what was asked for");
        }
        None if options.peer_window_bits < BITS_MAX => {
            return Err("no server_max_window_bits, which was asked for");
        }
        _ => {}
    }
    if chosen.client_bits == Some(None) {
        return Err("client_max_window_bits without a number");
    }
    let fresh = chosen.client_fresh || options.context == WsContext::Fresh;
    let peer_fresh = chosen.server_fresh;
    let context = |fresh| {
        if fresh {
            WsContext::Fresh
        } else {
            WsContext::Kept
        }
    };
    Ok(Some(Agreed {
        level: options.level,
        min_bytes: options.min_bytes,
        window_bits: bits(options.window_bits)
            .min(chosen.client_bits.flatten().unwrap_or(BITS_MAX)),
        context: context(fresh),
        peer_context: context(peer_fresh),
    }))
}

/// What one `permessage-deflate` says; a window may be named without a number.
#[derive(Debug, Default)]
struct Parameters {
    server_fresh: bool,
    client_fresh: bool,
    server_bits: Option<Option<u8>>,
    client_bits: Option<Option<u8>>,
}

impl Parameters {
    /// `None` for another extension, and for one that is not well-formed, which has to be declined.
    fn of(extension: &str) -> Option<Self> {
        let mut parts = split(extension, ';');
        if !parts.next()?.eq_ignore_ascii_case(NAME) {
            return None;
        }
        let mut found = Parameters::default();
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
                None => (part, None),
            };
            let twice = match (name, value) {
                ("server_no_context_takeover", None) => {
                    std::mem::replace(&mut found.server_fresh, true)
                }
                ("client_no_context_takeover", None) => {
                    std::mem::replace(&mut found.client_fresh, true)
                }
                ("server_max_window_bits", value) => {
                    found.server_bits.replace(number(value)?).is_some()
                }
                ("client_max_window_bits", value) => {
                    found.client_bits.replace(number(value)?).is_some()
                }
                _ => return None,
            };
            if twice {
                return None;
            }
        }
        Some(found)
    }
}

/// A legal window, if one is given.
fn number(value: Option<&str>) -> Option<Option<u8>> {
    let Some(text) = value else {
        return Some(None);
    };
    let number = text.parse().ok()?;
    let legal = (BITS_MIN..=BITS_MAX).contains(&number) && !text.starts_with(['0', '+']);
    legal.then_some(Some(number))
}

/// The parts of a list, trimmed; the separator does not count within quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

fn put_bits(text: &mut String, side: &str, bits: u8) {
    let written = write!(text, "; {side}_max_window_bits={bits}");
    debug_assert!(written.is_ok(), "a string takes everything");
}

fn bits(wanted: u8) -> u8 {
    wanted.clamp(BITS_MIN, BITS_MAX)
}

const NAME: &str = "permessage-deflate";
const BITS_MIN: u8 = 8;
const BITS_MAX: u8 = 15;

#[cfg(test)]
mod tests {
    use super::*;

    fn served(offer: &str) -> Option<String> {
        accept(&WsDeflate::default(), [offer].into_iter()).map(|(_, text)| text)
    }

    #[test]
    fn a_server_takes_the_first_offer_it_understands() {
        let plain = Some("permessage-deflate".to_owned());
        assert_eq!(served("permessage-deflate"), plain);
        assert_eq!(served("permessage-deflate; client_max_window_bits"), plain);
        assert_eq!(
            served("x-webkit-deflate-frame, permessage-deflate; client_max_window_bits"),
            plain
        );
        assert_eq!(served("foo; a=\"1,2;3\", Permessage-Deflate"), plain);
        assert_eq!(
            served("permessage-deflate; server_max_window_bits=7, permessage-deflate"),
            plain
        );
        for declined in [
            "",
            "permessage-bzip2",
            "permessage-deflate; unknown",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=09",
            "permessage-deflate; client_max_window_bits=0",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
        ] {
            assert_eq!(served(declined), None, "{declined:?}");
        }
    }

    #[test]
    fn a_server_keeps_to_what_the_client_asks() {
        let asked = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                     server_max_window_bits=\"10\"; client_max_window_bits=11";
        let (agreed, text) = accept(&WsDeflate::default(), [asked].into_iter()).expect("agreed");
        assert_eq!(
            text,
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
             server_max_window_bits=10; client_max_window_bits=11"
        );
        assert_eq!((agreed.window_bits, agreed.context), (10, WsContext::Fresh));
        assert_eq!(agreed.peer_context, WsContext::Fresh);
    }

    #[test]
    fn a_client_and_a_server_understand_each_other() {
        for context in [WsContext::Kept, WsContext::Fresh] {
            for peer_context in [WsContext::Kept, WsContext::Fresh] {
                for (window_bits, peer_window_bits) in [(15, 15), (9, 15), (15, 8), (12, 10)] {
                    let client = WsDeflate {
                        context,
                        peer_context,
                        window_bits,
                        peer_window_bits,
                        ..WsDeflate::default()
                    };
                    for server in [WsDeflate::default(), client.clone()] {
                        let (theirs, text) =
                            accept(&server, [&*offer(&client)].into_iter()).expect("agreed");
                        let ours = confirm(&client, [&*text].into_iter()).expect("legal");
                        let ours = ours.expect("agreed");
                        assert!(theirs.window_bits <= peer_window_bits);
                        assert!(ours.window_bits <= window_bits);
                        if ours.context == WsContext::Kept {
                            assert_eq!(theirs.peer_context, WsContext::Kept, "{text}");
                        }
                        if theirs.context == WsContext::Kept {
                            assert_eq!(ours.peer_context, WsContext::Kept, "{text}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_client_refuses_what_it_did_not_offer() {
        let options = WsDeflate {
            peer_context: WsContext::Fresh,
            peer_window_bits: 10,
            ..WsDeflate::default()
        };
        let heard = |text: &str| confirm(&options, [text].into_iter());
        assert_eq!(heard(""), Ok(None));
        for wrong in [
            "permessage-deflate",
            "permessage-deflate; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=11",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=10; client_max_window_bits",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=10, permessage-deflate",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=10; x",
            "x-webkit-deflate-frame",
        ] {
            assert!(heard(wrong).is_err(), "{wrong:?}");
        }
        let right = "permessage-deflate; server_no_context_takeover; server_max_window_bits=9; client_max_window_bits=12";
        let agreed = heard(right).expect("legal").expect("agreed");
        assert_eq!(agreed.window_bits, 12);
    }
}
