//! Connections: registration, merged requests, and who is called for a branch (coordinator.md 5, wire.md 6).

use super::*;
use crate::proto::version::ExceptionTable;
use BranchStatus::{PhaseTwoCommitted, PhaseTwoRollbacked};
use GlobalStatus::*;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn nothing_but_registration_and_heartbeat_is_heard_before_registration() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let xid = world.begin(tm);
    let merged = Message::MergedWarp(MergedWarp {
        messages: vec![Message::GlobalCommit(end(&xid))],
        ids: vec![5],
    });
    let answer = Message::BranchCommitResponse(BranchEndResponse {
        result: TxResult::Success,
        xid: xid.clone(),
        branch_id: 1,
        branch_status: PhaseTwoCommitted,
    });
    for message in [Message::GlobalCommit(end(&xid)), merged, answer] {
        let stranger = world.connect("10.0.0.5", 5);
        let ping = Rpc::ping(77);
        world.deliver(stranger, ping);
        assert_eq!(world.answer(stranger, 77), Some(Message::HeartbeatPong));
        let id = world.send(stranger, message);
        assert_eq!(world.answer(stranger, id), None);
        assert_eq!(world.closed(), [(stranger, CloseReason::Unregistered)]);
        let again = world.send(stranger, Message::GlobalCommit(end(&xid)));
        assert_eq!(world.answer(stranger, again), None);
        assert_eq!(world.closed(), [], "told once");
        world.close(stranger);
    }
    assert_eq!(world.stored_status(&xid), Some(Begin));
}

#[test]
fn one_connection_may_have_both_roles_in_any_order_and_repeat_them() {
    let mut world = World::new();
    let both = world.connect("10.0.0.5", 5);
    world.register_rm(both, "app", "");
    world.register_tm(both, "app", "1.1.0");
    world.register_rm(both, "app", "r");
    world.register_tm(both, "app", "1.1.0");
    world.register_rm(both, "app", "q,r");
    let xid = world.begin(both);
    world.register(both, tcc(&xid, "r"));
    world.register(both, tcc(&xid, "q"));
    let request = world.start_commit(both, &xid);
    let calls = world.reply_all();
    assert_eq!(calls.len(), 2);
    assert!(calls.iter().all(|call| call.to == both));
    assert_eq!(world.told(both, request), Some(Committed));
}

#[test]
fn the_last_registration_decides_how_a_connection_is_spoken_to() {
    let mut world = World::new();
    let channel = world.connect("10.0.0.5", 5);
    let table = |world: &World| world.coordinator.exception_table(channel);
    assert_eq!(table(&world), ExceptionTable::default());
    for (version, expected) in [
        ("1.4.2", ExceptionTable::V1_4),
        ("2.0.0", ExceptionTable::V2_0),
        ("1.4.2-SNAPSHOT", ExceptionTable::V1_4),
        ("0.7.1", ExceptionTable::V1_2),
        ("1.8.0", ExceptionTable::V1_7),
        ("", ExceptionTable::V1_2),
        ("1.6.1", ExceptionTable::V1_5),
    ] {
        world.register_tm(channel, "app", version);
        assert_eq!(table(&world), expected, "{version}");
    }
    let id = world.send(channel, Message::GlobalStatus(end(&"h:1:1".into())));
    let tables: Vec<_> = world
        .outputs
        .iter()
        .filter_map(|output| match output {
            Output::Send { rpc, table, .. } if rpc.id == id => Some(*table),
            _ => None,
        })
        .collect();
    assert_eq!(tables, [ExceptionTable::V1_5]);
}

#[test]
fn odd_identities_are_taken_as_they_are() {
    for application in ["a:b", "a,b", "应用", "", "a:10.0.0.7"] {
        for ip in ["10.0.0.2", "fe80::1"] {
            let mut world = World::with(CoordinatorConfig {
                advertised: "fe80::9:8091".to_owned(),
                ..CoordinatorConfig::default()
            });
            let rm = world.rm_at(ip, application, "r,,x");
            let name = "n".repeat(1000);
            let xid = world.begin_with(rm, &name, 60_000);
            world.register(rm, tcc(&xid, "r"));
            let stored = world.stored(&xid).unwrap();
            assert_eq!(stored.application_id, application);
            assert_eq!(stored.transaction_service_group, "group");
            let client = format!("{application}:{ip}:2000");
            assert_eq!(stored.branches[0].client_id, client.as_str());
            // Another connection of the same process.
            world.close(rm);
            let other = world.rm_at("10.0.0.77", "other", "r");
            let same = world.rm_at(ip, application, "r");
            let request = world.start_commit(other, &xid);
            let call = world.call();
            assert_eq!(call.to, same, "{client}");
            world.reply(&call, PhaseTwoCommitted);
            assert_eq!(world.told(other, request), Some(Committed));
        }
    }
}

/// Which of some connections is called for a branch, after the registering one has been gone for a time.
fn chosen(kind: BranchType, gone: Duration, others: &[(&str, &str, &str)]) -> Option<usize> {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let rm = world.rm_at("10.0.0.2", "app", "r");
    let xid = world.begin_with(tm, "n", 600_000);
    world.register(rm, branch(&xid, kind, "r", ""));
    let others: Vec<_> = others
        .iter()
        .map(|(ip, application, resources)| world.rm_at(ip, application, resources))
        .collect();
    world.close(rm);
    world.advance(gone);
    world.start_rollback(tm, &xid);
    let calls = world.calls();
    assert!(calls.len() < 2);
    let call = calls.first()?;
    Some(others.iter().position(|other| *other == call.to).unwrap())
}

#[test]
fn a_branch_goes_to_whom_it_may_and_to_nobody_else() {
    use BranchType::*;
    let same_ip = ("10.0.0.2", "app", "r");
    let other_ip = ("10.0.0.3", "app", "r");
    let other_app = ("10.0.0.2", "other", "r");
    let no_resource = ("10.0.0.2", "app", "q");
    let none = Duration::ZERO;
    for kind in [At, Tcc, Xa, SagaAnnotation] {
        assert_eq!(
            chosen(kind, none, &[other_app, other_ip, no_resource, same_ip]),
            Some(3)
        );
        assert_eq!(chosen(kind, none, &[no_resource]), None, "no cross-listing");
        let across = chosen(kind, secs(60), &[other_app]);
        assert_eq!(across, (kind == At).then_some(0), "{kind}");
    }
    for kind in [At, Tcc, SagaAnnotation] {
        assert_eq!(chosen(kind, none, &[other_app, other_ip]), Some(1));
    }
    assert_eq!(chosen(Xa, secs(9), &[other_ip]), None, "it may come back");
    assert_eq!(chosen(Xa, secs(10), &[other_ip]), Some(0), "it does not");
}

#[test]
fn an_xa_branch_is_taken_over_as_soon_as_the_grace_is_over() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let rm = world.rm_at("10.0.0.2", "app", "r");
    let other = world.rm_at("10.0.0.3", "app", "r");
    let xid = world.begin(tm);
    world.register(rm, branch(&xid, BranchType::Xa, "r", ""));
    let request = world.start_commit(tm, &xid);
    assert_eq!(world.call().to, rm);
    world.close(rm);
    assert_eq!(world.told_failed(tm, request), CommitRetrying);
    world.advance(Duration::from_millis(9_900));
    assert_eq!(world.calls(), []);
    world.advance(Duration::from_millis(150));
    let call = world.call();
    assert_eq!(call.to, other);
    world.reply(&call, PhaseTwoCommitted);
    assert_eq!(world.stored_status(&xid), None);
}

#[test]
fn a_tm_connection_is_never_called() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let xid = world.begin(tm);
    world.register(tm, at(&xid, "r", "t:1"));
    world.tm("app", "2.2.0");
    world.start_rollback(tm, &xid);
    world.advance(secs(30));
    assert_eq!(world.calls(), []);
    let rm = world.rm_at("10.0.0.1", "app", "r");
    assert_eq!(world.call().to, rm);
}

#[test]
fn a_blank_resource_is_served_by_nobody() {
    let mut world = World::new();
    let rm = world.rm("app", "");
    let xid = world.begin(rm);
    world.register(rm, tcc(&xid, ""));
    let request = world.start_commit(rm, &xid);
    assert_eq!(world.told_failed(rm, request), CommitRetrying);
    world.advance(secs(30));
    assert_eq!(world.calls(), []);
}

#[test]
fn equals_take_turns_and_the_less_busy_goes_first() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let first = world.rm("gone", "r");
    let rms: Vec<_> = (0..4)
        .map(|i| world.rm_at(&format!("10.1.0.{i}"), "app", "r"))
        .collect();
    let mut xids = Vec::new();
    for i in 0..40 {
        let xid = world.begin(tm);
        world.register(first, at(&xid, "r", &format!("t:{i}")));
        xids.push(xid);
    }
    world.close(first);
    for xid in &xids {
        world.commit(tm, xid);
    }
    let calls = world.calls();
    for rm in rms {
        let share = calls.iter().filter(|call| call.to == rm).count();
        assert!((8..=12).contains(&share), "{share}");
    }
}

#[test]
fn a_hundred_resources_and_a_limit() {
    let mut world = World::with(CoordinatorConfig {
        resources_per_channel_max: 100,
        ..CoordinatorConfig::default()
    });
    let many: Vec<_> = (0..100).map(|i| format!("r{i}")).collect();
    let rm = world.rm("app", &many.join(","));
    let request = Message::RegisterRm(RegisterRm {
        version: "2.2.0".into(),
        application_id: "app".into(),
        transaction_service_group: "group".into(),
        extra_data: Text::new(),
        resource_ids: "one more".into(),
    });
    match world.ask(rm, request) {
        Message::RegisterRmResponse(r) => assert!(!r.identified),
        other => panic!("{other:?}"),
    }
    let xid = world.begin(rm);
    world.register(rm, tcc(&xid, "r99"));
    world.start_commit(rm, &xid);
    assert_eq!(world.call().to, rm);
}

#[test]
fn coming_and_going_leaves_nothing_behind() {
    let mut world = World::new();
    for i in 0..5_000 {
        let rm = world.rm_at("10.0.0.2", "app", &format!("r{i},jdbc:mysql://h/{i}"));
        world.close(rm);
    }
    assert_eq!(world.stats().channels, 0);
    let roster = format!("{:?}", world.coordinator);
    assert!(
        !roster.contains("r4999"),
        "resources go with their last connection"
    );
    assert!(
        roster.len() < 3_000_000,
        "what is remembered of clients that left is bounded in time"
    );
}

#[test]
fn answers_of_branches_have_to_fit_by_id_xid_and_branch() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let rm = world.rm("app", "r");
    let other = world.rm("app", "q");
    let xid = world.begin(tm);
    world.register(rm, tcc(&xid, "r"));
    let request = world.start_commit(tm, &xid);
    let call = world.call();
    let mut wrong = vec![call.clone(); 3];
    wrong[0].id += 1;
    wrong[1].end.xid = "h:1:2".into();
    wrong[2].end.branch_id += 1;
    for call in wrong {
        world.reply(&call, PhaseTwoCommitted);
    }
    assert_eq!(world.stats().answers_unexpected, 3);
    assert_eq!(world.told(tm, request), None);
    // seata-go answers over any of its connections.
    world.reply_on(other, &call, PhaseTwoCommitted);
    assert_eq!(world.told(tm, request), Some(Committed));
    world.reply(&call, PhaseTwoCommitted);
    assert_eq!(world.stats().answers_unexpected, 4);
    assert_eq!(world.closed(), [], "the connection stays");
    // What a client has no business to send is dropped.
    let id = world.send(tm, Message::BranchCommit(call.end.clone()));
    assert_eq!(world.answer(tm, id), None);
    assert_eq!(world.closed(), []);
    assert_eq!(world.coordinator.held(), 0);
}

#[test]
fn a_reply_goes_to_the_connection_that_asked_or_nowhere() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let rm = world.rm("app", "r");
    let xid = world.begin(tm);
    world.register(rm, tcc(&xid, "r"));
    world.start_commit(tm, &xid);
    let call = world.call();
    world.close(tm);
    let again = world.tm("app", "2.2.0");
    world.outputs.clear();
    world.reply(&call, PhaseTwoCommitted);
    assert_eq!(world.outputs, []);
    assert_eq!(world.commit(again, &xid), Committed);
    assert_eq!(world.coordinator.held(), 0);
}

/// A merged request with a failing child in the middle.
fn merged(xid: &Text, ids: Vec<i32>) -> Message {
    Message::MergedWarp(MergedWarp {
        messages: vec![
            Message::BranchRegister(tcc(xid, "r")),
            Message::BranchRegister(at(&"h:1:2".into(), "r", "t:1")),
            Message::GlobalStatus(end(xid)),
        ],
        ids,
    })
}

fn check_children(children: &[&Message]) {
    assert!(
        matches!(
            children,
            [
                Message::BranchRegisterResponse(BranchRegisterResponse {
                    result: TxResult::Success,
                    ..
                }),
                Message::BranchRegisterResponse(BranchRegisterResponse { branch_id: 0, .. }),
                Message::GlobalStatusResponse(GlobalEndResponse {
                    global_status: Begin,
                    ..
                }),
            ]
        ),
        "{children:?}"
    );
}

#[test]
fn merged_requests_are_answered_as_the_version_wants_it() {
    for batch in [false, true] {
        for version in ["", "1.4.2", "1.5.2", "2.2.0", "2.3.0", "2.6.0"] {
            let mut world = World::with(CoordinatorConfig {
                batch_responses: batch,
                ..CoordinatorConfig::default()
            });
            let tm = world.tm("app", version);
            let xid = world.begin(tm);
            let ids = match version {
                "" | "1.4.2" => vec![],
                _ => vec![901, 902, 903],
            };
            let outer = world.send(tm, merged(&xid, ids));
            if matches!(version, "2.3.0" | "2.6.0") {
                assert_eq!(world.answer(tm, outer), None);
                let children: Vec<_> = (901..904).map(|id| world.answer(tm, id).unwrap()).collect();
                check_children(&children.iter().collect::<Vec<_>>());
                continue;
            }
            match world.answer(tm, outer).unwrap() {
                Message::MergeResult(merged) => {
                    assert!(!batch || matches!(version, "" | "1.4.2"));
                    check_children(&merged.messages.iter().collect::<Vec<_>>());
                }
                Message::BatchResult(result) => {
                    assert!(batch && matches!(version, "1.5.2" | "2.2.0"));
                    assert_eq!(result.ids, [901, 902, 903]);
                    check_children(&result.messages.iter().collect::<Vec<_>>());
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(world.coordinator.held(), 0);
        }
    }
}

#[test]
fn a_merged_answer_waits_for_its_slowest_child_and_holds_up_nobody() {
    let mut world = World::new();
    let tm = world.tm("app", "1.6.1");
    let rm = world.rm("app", "r");
    let (slow, other) = (world.begin(tm), world.begin(tm));
    world.register(rm, tcc(&slow, "r"));
    let children = vec![
        Message::GlobalCommit(end(&slow)),
        Message::GlobalCommit(end(&other)),
        Message::GlobalStatus(end(&slow)),
    ];
    let outer = world.send(
        tm,
        Message::MergedWarp(MergedWarp {
            messages: children,
            ids: vec![1, 2, 3],
        }),
    );
    assert_eq!(world.answer(tm, outer), None);
    assert_eq!(world.stored_status(&other), None, "done at once");
    let call = world.call();
    world.reply(&call, PhaseTwoCommitted);
    let Some(Message::MergeResult(result)) = world.answer(tm, outer) else {
        panic!("no merged answer");
    };
    let statuses: Vec<_> = result.messages.into_iter().map(told).collect();
    assert_eq!(statuses, [Committed, Committed, Committing]);
}

#[test]
fn five_hundred_children_an_empty_merge_and_a_bad_one() {
    let mut world = World::new();
    let tm = world.tm("app", "2.2.0");
    let begin = Message::GlobalBegin(GlobalBegin {
        timeout_ms: 1000,
        transaction_name: Text::new(),
    });
    let merge = |messages: Vec<Message>| {
        let ids = (0..messages.len() as i32).collect();
        Message::MergedWarp(MergedWarp { messages, ids })
    };
    match world.ask(tm, merge(vec![begin.clone(); 500])) {
        Message::MergeResult(result) => assert_eq!(result.messages.len(), 500),
        other => panic!("{other:?}"),
    }
    match world.ask(tm, merge(vec![])) {
        Message::MergeResult(result) => assert_eq!(result.messages, []),
        other => panic!("{other:?}"),
    }
    let live = world.stats().live;
    let id = world.send(tm, merge(vec![begin, Message::HeartbeatPing]));
    assert_eq!(world.answer(tm, id), None);
    assert_eq!(world.closed(), [(tm, CloseReason::BadMerge)]);
    assert_eq!(world.stats().live, live, "nothing of it is carried out");
}

#[test]
fn a_merged_answer_whose_decision_fails_closes_and_leaks_nothing() {
    let mut world = World::new();
    let tm = world.tm("app", "1.4.2");
    let rm = world.rm("app", "r");
    let (one, two) = (world.begin(tm), world.begin(tm));
    world.register(rm, tcc(&one, "r"));
    let commit_first = world.start_commit(tm, &one);
    world.failing = Some(|operation| matches!(operation, Operation::Decide { .. }));
    let outer = world.send(
        tm,
        Message::MergedWarp(MergedWarp {
            messages: vec![
                Message::GlobalStatus(end(&two)),
                Message::GlobalCommit(end(&two)),
            ],
            ids: vec![],
        }),
    );
    world.failing = None;
    assert_eq!(world.closed(), [(tm, CloseReason::StoreFailed)]);
    let call = world.call();
    world.reply(&call, PhaseTwoCommitted);
    assert_eq!(world.answer(tm, outer), None);
    assert_eq!(
        world.answer(tm, commit_first),
        None,
        "nothing more goes to it"
    );
    assert_eq!(world.coordinator.held(), 0);
}

#[test]
fn undo_logs_are_announced_once_per_at_resource() {
    let mut world = World::new();
    let url = "jdbc:mysql://h:3306/db";
    let one = world.rm("app", &format!("{url},tccBean"));
    let two = world.rm("app", url);
    let plain = world.rm("app", "plain");
    let old = world.connect("10.0.0.9", 9);
    let request = Message::RegisterRm(RegisterRm {
        version: "0.7.0".into(),
        application_id: "app".into(),
        transaction_service_group: "group".into(),
        extra_data: Text::new(),
        resource_ids: "jdbc:old".into(),
    });
    world.ask(old, request);
    let xid = world.begin(one);
    world.register(plain, at(&xid, "plain", "t:1"));
    world.commit(one, &xid);
    world.reply_all();
    let announced = |world: &mut World| {
        let sent: Vec<_> = std::mem::take(&mut world.outputs)
            .into_iter()
            .filter_map(|output| match output {
                Output::Send { to, rpc, .. } => match rpc.message {
                    Message::UndoLogDelete(message) => {
                        assert_eq!(rpc.kind, crate::proto::frame::MessageKind::OneWay);
                        assert_eq!(message.save_days, 7);
                        assert_eq!(message.branch_type, BranchType::At);
                        Some((to, message.resource_id))
                    }
                    _ => None,
                },
                Output::Close { .. } => None,
            })
            .collect();
        sent
    };
    world.advance(secs(179));
    assert_eq!(announced(&mut world), []);
    world.advance(secs(2));
    let sent = announced(&mut world);
    assert_eq!(sent, [(one, url.into()), (plain, "plain".into())]);
    world.close(one);
    world.advance(secs(24 * 3600));
    let sent = announced(&mut world);
    assert_eq!(sent, [(two, url.into()), (plain, "plain".into())]);
}

#[test]
fn a_hung_connection_fills_its_own_window_only() {
    let mut world = World::with(CoordinatorConfig {
        calls_per_route_max: 4,
        ..CoordinatorConfig::default()
    });
    let tm = world.tm("app", "2.2.0");
    let hung = world.rm_at("10.0.0.2", "app", "r,q");
    let healthy = world.rm_at("10.0.0.3", "app", "r");
    let start = |world: &mut World, rm, resource| {
        let xid = world.begin_with(tm, "n", 600_000);
        world.register(rm, tcc(&xid, resource));
        (world.start_rollback(tm, &xid), xid)
    };
    let stuck: Vec<_> = (0..20).map(|_| start(&mut world, hung, "r")).collect();
    let calls = world.calls();
    assert_eq!(calls.len(), 4);
    for (rm, resource) in [(healthy, "r"), (hung, "q")] {
        let (request, _) = start(&mut world, rm, resource);
        let call = world.call();
        world.reply(&call, PhaseTwoRollbacked);
        assert_eq!(world.told(tm, request), Some(Rollbacked));
    }
    world.reply(&calls[0], PhaseTwoRollbacked);
    let next = world.call();
    assert_eq!(next.end.xid, stuck[4].1, "first come, first served");
    // When the connection closes, those in flight fail and those in line look elsewhere.
    world.outputs.clear();
    world.close(hung);
    world.advance(secs(2));
    let calls = world.calls();
    assert_eq!(calls.len(), 4);
    assert!(calls.iter().all(|call| call.to == healthy));
    for call in calls {
        world.reply(&call, PhaseTwoRollbacked);
    }
    for _ in 0..60 {
        world.reply_all();
        world.advance(secs(1));
    }
    assert_eq!(world.stats().live, 0);
    assert_eq!(world.stats().calls_in_flight, 0);
}
