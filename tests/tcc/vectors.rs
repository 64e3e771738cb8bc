//! Contexts that Java's clients wrote: a selection that is always read, and all of them where `SEAMIO_VECTORS` names their folder.

use seamio::client::resource::PhaseTwo;
use seamio::client::tcc::ActionContext;
use seamio::proto::Text;
use seamio::xid::BranchId;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize, Debug, PartialEq)]
struct Address {
    city: String,
    zip: u32,
}

/// What `plainAction` of the recording takes, as a Rust action of its name would.
#[derive(Deserialize, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Plain {
    user_id: String,
    total: i64,
    count: u8,
    flag: bool,
    rate: f64,
    price: String,
}

/// What `objectAction` of the recording takes.
#[derive(Deserialize, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Object {
    address: Address,
    order_address: Address,
    list: Vec<String>,
    map: std::collections::BTreeMap<String, u8>,
    when: u64,
    color: Color,
    bytes: Vec<u8>,
    ch: char,
    big: i64,
}

#[derive(Deserialize, Debug, PartialEq)]
#[serde(rename_all = "UPPERCASE")]
enum Color {
    Green,
    Red,
}

#[derive(Default, Debug)]
struct Tally {
    contexts: usize,
    members: usize,
}

#[test]
fn the_selection_is_read() {
    let mut tally = Tally::default();
    let vectors: Vec<Value> = serde_json::from_str(include_str!("vectors.json")).expect("JSON");
    for vector in &vectors {
        let data = vector["applicationData"].as_str().expect("text");
        let seen = vector["context"].as_object().expect("an object");
        let seen = seen.iter().map(|(key, pair)| {
            let part = |index: usize| pair[index].as_str().expect("text");
            (key.as_str(), part(0), part(1))
        });
        let what = format!(
            "{} {} {}",
            vector["name"], vector["source"], vector["parser"]
        );
        judge(&what, data, seen, &mut tally);
    }
    println!("{tally:?}");
    assert!(tally.contexts > 30 && tally.members > 250, "{tally:?}");
}

#[test]
fn everything_recorded_is_read() {
    let Some(folder) = std::env::var_os("SEAMIO_VECTORS") else {
        println!("1 test skipped: SEAMIO_VECTORS names no folder");
        return;
    };
    let path = std::path::Path::new(&folder).join("tcc.json");
    let text = std::fs::read_to_string(&path).expect("tcc.json in SEAMIO_VECTORS");
    let vectors: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    let mut tally = Tally::default();
    for vector in &vectors {
        let what = format!("{} {}", vector["name"], vector["source"]);
        // What the coordinator gave back most lately, for the phase that follows it.
        let mut data = String::new();
        for event in vector["events"].as_array().expect("a list") {
            if let Some(text) = event["applicationData"].as_str() {
                data = text.to_owned();
                judge(&what, &data, std::iter::empty(), &mut tally);
            }
            if !matches!(
                event["op"].as_str(),
                Some("method_confirm" | "method_cancel")
            ) {
                continue;
            }
            let seen = event["context_action_context"]
                .as_object()
                .expect("an object");
            // Of two branches the calls may be mixed; those of one follow each other.
            if data.contains(event["context_action_name"].as_str().expect("text")) {
                let seen = seen.iter().map(|(key, pair)| {
                    let part = |name: &str| pair[name].as_str().expect("text");
                    (key.as_str(), part("java"), part("value"))
                });
                judge(&what, &data, seen, &mut tally);
            }
        }
    }
    println!("{} recordings, {tally:?}", vectors.len());
    assert!(
        vectors.len() > 100 && tally.contexts > 400 && tally.members > 500,
        "{tally:?}"
    );
}

/// Reads a context, and compares what Java saw in it.
fn judge<'a>(
    what: &str,
    data: &str,
    seen: impl Iterator<Item = (&'a str, &'a str, &'a str)>,
    tally: &mut Tally,
) {
    let branch = PhaseTwo {
        xid: Text::from("127.0.0.1:8091:1"),
        branch_id: BranchId(2),
        application_data: Text::from(data),
    };
    let ctx =
        ActionContext::of_branch("recorded", &branch).unwrap_or_else(|e| panic!("{what}: {e}"));
    tally.contexts += 1;
    for (key, class, value) in seen {
        if let Some(simple) = class
            .strip_prefix("java.lang.")
            .or(class.strip_prefix("java.math."))
        {
            let text = ctx.get::<String>(key);
            assert_eq!(text, Ok(Some(value.to_owned())), "{what}: {key} ({simple})");
            tally.members += 1;
        }
    }
    let name: Option<String> = ctx.get("actionName").expect("text");
    if name.as_deref() == Some("objectAction") && what.contains("object/commit") {
        assert_eq!(ctx.args(), Ok(object()), "{what}");
        tally.members += 1;
    }
    if name.as_deref() == Some("plainAction") && data.contains("12.50") {
        assert_eq!(ctx.args(), Ok(plain()), "{what}");
        tally.members += 1;
    }
    if data.contains("\"object\"") {
        assert_eq!(ctx.get("object"), Ok(Some(address())), "{what}");
        tally.members += 1;
    }
    if data.contains("\"list\":\"") {
        assert_eq!(ctx.get("list"), Ok(Some(vec![1, 2])), "{what}");
        tally.members += 1;
    }
}

fn address() -> Address {
    Address {
        city: "Köln".to_owned(),
        zip: 50667,
    }
}

fn plain() -> Plain {
    Plain {
        user_id: "u\"1 你😀".to_owned(),
        total: 9_007_199_254_740_993,
        count: 2,
        flag: true,
        rate: 0.1,
        price: "12.50".to_owned(),
    }
}

fn object() -> Object {
    Object {
        address: address(),
        order_address: address(),
        list: vec!["x".to_owned(), "y,z".to_owned()],
        map: [("k".to_owned(), 1)].into(),
        when: 1_704_135_845_678,
        color: Color::Green,
        bytes: vec![0, 1, 255],
        ch: 'c',
        big: i64::MAX,
    }
}

#[test]
fn an_enumeration_that_java_has_not_is_refused() {
    let branch = PhaseTwo {
        xid: Text::from("127.0.0.1:8091:1"),
        branch_id: BranchId(2),
        application_data: Text::from(r#"{"actionContext":{"color":"RED","other":"BLUE"}}"#),
    };
    let ctx = ActionContext::of_branch("recorded", &branch).expect("a context");
    assert_eq!(ctx.get("color"), Ok(Some(Color::Red)));
    assert!(ctx.get::<Color>("other").is_err());
}
