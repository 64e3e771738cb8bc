//! What load meets at the door: a disk that stands still, and peers that send more than anybody needs.

use super::*;
use GlobalStatus::*;

fn begin() -> Message {
    Message::GlobalBegin(GlobalBegin {
        timeout_ms: 60_000,
        transaction_name: "n".into(),
    })
}

fn limited(held_max: usize, held_per_channel_max: usize) -> World {
    World::with(CoordinatorConfig {
        held_max,
        held_per_channel_max,
        ..CoordinatorConfig::default()
    })
}

#[test]
fn answers_behind_a_slow_disk_are_held_and_stop_begins_not_decisions() {
    for (held_max, per_channel) in [(20, 1000), (1000, 20)] {
        let mut world = limited(held_max, per_channel);
        let tm = world.tm("app", "2.2.0");
        let known = world.begin(tm);
        world.unsynced = true;
        let begins: Vec<_> = (0..100).map(|_| world.send(tm, begin())).collect();
        assert_eq!(world.stats().begins_refused, 80);
        assert_eq!((world.coordinator.held(), world.stats().parked), (20, 20));
        for id in &begins[20..] {
            match world.answer(tm, *id) {
                Some(Message::GlobalBeginResponse(r)) => assert_ne!(r.result, TxResult::Success),
                other => panic!("{other:?}"),
            }
        }
        // Decisions are taken, and what they leave behind is counted, so that whoever reads the network can stop.
        let commits: Vec<_> = (0..10).map(|_| world.start_commit(tm, &known)).collect();
        assert_eq!(world.stats().commits_decided, 1);
        assert_eq!(world.coordinator.held(), 30);
        world.unsynced = false;
        world.pump();
        assert_eq!(world.coordinator.held(), 0);
        for id in commits {
            assert_eq!(world.told(tm, id), Some(Committed));
        }
        for id in &begins[..20] {
            assert!(world.answer(tm, *id).is_some());
        }
        world.begin(tm);
    }
}

#[test]
fn a_merged_request_is_held_until_its_answer_leaves() {
    let mut world = World::new();
    let tm = world.tm("app", "1.4.2");
    world.unsynced = true;
    let merged = |messages| {
        Message::MergedWarp(MergedWarp {
            messages,
            ids: vec![],
        })
    };
    let id = world.send(tm, merged(vec![begin(), begin(), begin()]));
    assert_eq!(world.coordinator.held(), 3);
    // Nobody waits for the answers of a connection that is gone, but they are still there.
    let other = world.connect("10.0.0.9", 9);
    world.unsynced = false;
    world.pump();
    world.register_tm(other, "app", "1.4.2");
    world.unsynced = true;
    world.send(other, merged(vec![begin(), begin()]));
    world.close(other);
    assert_eq!(world.coordinator.held(), 2);
    world.unsynced = false;
    world.pump();
    assert_eq!(world.coordinator.held(), 0);
    assert!(world.answer(tm, id).is_some());
}

#[test]
fn an_answer_that_tells_of_something_older_leaves_in_its_turn() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    world.unsynced = true;
    let first = world.send(tm, begin());
    for _ in 0..3 {
        world.send(tm, begin());
    }
    // It tells of the first begin, whose number is less than what waits already.
    let xid = {
        let mut found = None;
        world.store.scan(&mut |global| {
            found.get_or_insert_with(|| global.xid.as_text().clone());
        });
        found.unwrap()
    };
    let status = world.send(tm, Message::GlobalStatus(end(&xid)));
    assert_eq!(world.answer(tm, first), None);
    assert_eq!(world.answer(tm, status), None);
    world.unsynced = false;
    world.pump();
    assert_eq!(world.told(tm, status), Some(Begin));
    assert!(world.answer(tm, first).is_some());
}

fn try_register_rm(world: &mut World, channel: ChannelId, app: &str, resources: &str) -> bool {
    let request = Message::RegisterRm(RegisterRm {
        version: "2.2.0".into(),
        application_id: app.into(),
        transaction_service_group: "group".into(),
        extra_data: Text::new(),
        resource_ids: resources.into(),
    });
    match world.ask(channel, request) {
        Message::RegisterRmResponse(r) => r.identified,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_registration_makes_the_coordinator_keep_is_bounded_in_bytes() {
    let mut world = World::with(CoordinatorConfig {
        resource_id_bytes_max: 20,
        resource_bytes_per_channel_max: 50,
        identity_bytes_max: 10,
        ..CoordinatorConfig::default()
    });
    let rm = world.connect("10.0.0.3", 3);
    let long = "a".repeat(21);
    assert!(!try_register_rm(&mut world, rm, "app", &long));
    assert!(!try_register_rm(&mut world, rm, &"b".repeat(11), "r"));
    let dump = format!("{:?}", world.coordinator);
    assert!(!dump.contains(&long) && !dump.contains("bbbbbbbbbbb"));
    let (one, two, three) = ("c".repeat(20), "d".repeat(20), "e".repeat(11));
    assert!(try_register_rm(
        &mut world,
        rm,
        "app",
        &format!("{one},{two}")
    ));
    assert!(!try_register_rm(&mut world, rm, "app", &three));
    assert!(try_register_rm(&mut world, rm, "app", &three[1..]));
    // Another connection has its own share, and a closed one gives everything back.
    let other = world.connect("10.0.0.3", 4);
    assert!(try_register_rm(&mut world, other, "app", &three));
    let tm = world.connect("10.0.0.3", 5);
    for (application, group) in [
        ("b".repeat(11), "g".to_owned()),
        ("b".into(), "g".repeat(11)),
    ] {
        let request = Message::RegisterTm(RegisterTm {
            version: "2.2.0".into(),
            application_id: application.as_str().into(),
            transaction_service_group: group.as_str().into(),
            extra_data: Text::new(),
        });
        match world.ask(tm, request) {
            Message::RegisterTmResponse(r) => assert!(!r.identified),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_full_set_of_resources_may_be_registered_again() {
    let mut world = World::with(CoordinatorConfig {
        resources_per_channel_max: 100,
        resource_bytes_per_channel_max: 500,
        ..CoordinatorConfig::default()
    });
    let rm = world.connect("10.0.0.3", 3);
    let all: Vec<_> = (0..100).map(|i| format!("r{i:04}")).collect();
    let all = all.join(",");
    for _ in 0..3 {
        assert!(try_register_rm(&mut world, rm, "app", &all));
    }
    assert!(try_register_rm(
        &mut world,
        rm,
        "app",
        &format!("{all},r0001,r0001")
    ));
    assert!(!try_register_rm(&mut world, rm, "app", &format!("{all},x")));
}

#[test]
fn many_old_tombstones_go_in_shares_and_soon() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    for _ in 0..10_000 {
        let xid = world.begin(tm);
        world.rollback(tm, &xid);
        world.elapsed += Duration::from_millis(1);
    }
    assert_eq!(world.store.stats().tombstones, 10_000);
    let life = CoordinatorConfig::default().tombstone_life;
    world.advance(life + Duration::from_secs(10));
    let mut left = vec![world.store.stats().tombstones];
    while *left.last().unwrap() > 0 && left.len() < 1000 {
        world.advance(Duration::from_millis(10));
        left.push(world.store.stats().tombstones);
    }
    let shares: Vec<_> = left.windows(2).map(|w| w[0] - w[1]).collect();
    assert!(shares.iter().all(|share| *share <= 5000), "{shares:?}");
    assert_eq!(left.last(), Some(&0), "{left:?}");
}
