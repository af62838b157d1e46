//! The packet cases on the pure function and in the kernel, and both side by side on many flows.

#![expect(clippy::expect_used, reason = "helpers of tests fail as the tests do")]

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use gateway::l4::owners::{OwnersCache, slots};
use gateway::l4::plan::Step;
use gateway::view::{Member, View};
use gateway_common::abi;
use gateway_common::node::NodeId;
use gateway_common::verdict::{Fate, Reason};
use gateway_common::vip::{SteeringCode, VipEntry, VipId};
use gateway_tests::packets::build::{Packet, SYN, frame};
use gateway_tests::packets::cases::{self, After, Before, Case, Outcome};
use gateway_tests::packets::kernel::{Kernel, MARK, Tiny, receiver};
use gateway_tests::packets::pure;
use gateway_tests::packets::world::{MAC_HERE, MAC_ROUTER, ME, Situation, Version, vip_key};
use gateway_tests::speed;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

#[path = "packets/traced.rs"]
mod traced;

fn compare(run: impl Fn(&Case) -> Outcome + Copy) {
    let cases = cases::all();
    assert!(cases.len() >= 250, "only {} cases", cases.len());
    let faults: Vec<String> = (cases.iter())
        .filter_map(|case| {
            let outcome = run(case);
            (outcome != case.expected).then(|| {
                format!(
                    "{}\n expected {:?}\n found    {outcome:?}",
                    case.name, case.expected
                )
            })
        })
        .collect();
    assert!(
        faults.is_empty(),
        "{} of {} cases:\n{}",
        faults.len(),
        cases.len(),
        faults.join("\n")
    );
}

#[test]
fn cases_hold_on_the_pure_function() {
    let tables = std::cell::RefCell::new(pure::tables());
    compare(|case| pure::run(&mut tables.borrow_mut(), case));
}

#[test]
fn cases_hold_on_the_short_way_where_it_takes_them() {
    let mut tables = pure::tables();
    let mut reasons = HashSet::new();
    for case in cases::all() {
        if let Some(found) = pure::run_short(&mut tables, &case) {
            assert_eq!(found, case.expected, "{}", case.name);
            reasons.insert(found.reason);
        }
    }
    let expected = [
        Reason::NotAVip,
        Reason::ToOwner,
        Reason::ToFlowOwner,
        Reason::Denied,
        Reason::Land,
        Reason::BadSource,
        Reason::SourceLimit,
        Reason::VipLimit,
    ];
    assert_eq!(reasons, HashSet::from(expected));
}

#[test]
fn root_cases_hold_in_the_kernel() {
    // A thread of its own, for it moves into another network namespace.
    std::thread::spawn(|| {
        let kernel = std::cell::RefCell::new(Kernel::start().unwrap());
        compare(|case| kernel.borrow_mut().run(case).unwrap());
    })
    .join()
    .unwrap();
}

#[test]
fn root_the_verifier_has_room_left() {
    // Of 1,000,000: another kernel may look at some more, and then no node starts.
    const INSTRUCTIONS_MAX: u32 = 700_000;
    for program in abi::PROGRAMS {
        let verified = speed::kernel::Kernel::size(program).unwrap().verified;
        assert!(
            (1..=INSTRUCTIONS_MAX).contains(&verified),
            "`{program}`: {verified}"
        );
    }
}

#[test]
fn root_programs_in_the_chain_see_every_frame_before_and_what_passes_after() {
    const DROP: u32 = 1;
    std::thread::spawn(|| {
        let mut kernel = Kernel::start().unwrap();
        let cases = cases::all();
        let some = |fate: Fate, reason: Reason| {
            let found = cases
                .iter()
                .find(|case| case.expected.fate == fate && case.expected.reason == reason);
            found.expect("a case").clone()
        };
        let passed = some(Fate::Pass, Reason::NotAVip);
        let sent = some(Fate::Transmit, Reason::ToOwner);
        let dropped = some(Fate::Drop, Reason::NoOwner);
        let [as_passed, as_sent, as_dropped] =
            [&passed, &sent, &dropped].map(|case| kernel.act(case).unwrap());
        let mut marked = as_passed.clone();
        marked.1[6] = MARK;
        let lost = |case: &Case| (DROP, case.frame.clone());
        // What stands before, what after; what becomes of a frame that passes, and of one that is sent on.
        let rows = [
            (None, None, &as_passed, as_sent.clone()),
            (Some(Tiny::MarksAndGoesOn), None, &marked, as_sent.clone()),
            (Some(Tiny::Drops), None, &lost(&passed), lost(&sent)),
            (None, Some(Tiny::MarksAndPasses), &marked, as_sent.clone()),
            (None, Some(Tiny::Drops), &lost(&passed), as_sent.clone()),
            (
                Some(Tiny::MarksAndGoesOn),
                Some(Tiny::MarksAndPasses),
                &marked,
                as_sent.clone(),
            ),
            (None, None, &as_passed, as_sent),
        ];
        for (before, after, if_passed, if_sent) in rows {
            for (slot, tiny) in [(abi::BEFORE, before), (abi::AFTER, after)] {
                kernel.plug(slot, tiny).unwrap();
            }
            let what = format!("{before:?} before, {after:?} after");
            assert_eq!(
                kernel.act(&passed).unwrap(),
                *if_passed,
                "{what}: a frame that passes"
            );
            assert_eq!(
                kernel.act(&sent).unwrap(),
                if_sent,
                "{what}: a frame that is sent on"
            );
            assert_eq!(
                kernel.act(&dropped).unwrap().0,
                as_dropped.0,
                "{what}: one that is dropped"
            );
        }
    })
    .join()
    .unwrap();
}

#[test]
fn every_reason_but_headroom_has_a_case() {
    let cases = cases::all();
    for reason in Reason::ALL {
        let is_shown = cases.iter().any(|case| case.expected.reason == *reason);
        // A driver gives 256 bytes of headroom, and the test run as much: it cannot be used up by one header.
        let cannot_be_shown = *reason == Reason::NoHeadroom;
        assert!(is_shown || cannot_be_shown, "no case ends as {}", reason.name());
    }
}

fn member(id: u16, weight: u32) -> Member {
    let address = Some(Ipv4Addr::new(10, 77, 0, 10 + id as u8));
    Member {
        id: NodeId(id),
        name: format!("gw-{id}"),
        address,
        address_v6: None,
        weight,
        incarnation: 100 + u32::from(id),
        serves: gateway::view::SetId::ALL,
    }
}

/// One SYN of a client to a port of the VIP, without an expectation.
fn syn(client: IpAddr, client_port: u16, port: u16) -> Case {
    let packet = Packet::tcp((client, client_port), (Version::V4.vip(), port), SYN);
    Case {
        name: "V4: spread".to_owned(),
        before: Before::default(),
        frame: frame(MAC_HERE, MAC_ROUTER, &[], 0x0800, &packet.bytes()),
        expected: Outcome {
            fate: Fate::Pass,
            reason: Reason::NotIp,
            bytes: Vec::new(),
            after: After::default(),
        },
    }
}

/// The owners that kernel and pure function both find for these SYNs.
fn owners(steering: SteeringCode, cases: &[Case]) -> Vec<NodeId> {
    let view = View {
        members: vec![member(1, 1), member(2, 1), member(3, 2)],
        ..View::default()
    };
    let table = Situation::MineAlways.table();
    let slots_of_view: std::sync::Arc<[_]> = slots(&mut OwnersCache::default(), &view, ME).into();
    let key = vip_key(Version::V4.vip(), 8001, 6);
    let vip = VipEntry {
        id: VipId(1),
        steering,
        table,
        salt: 9,
        ..VipEntry::default()
    };
    let mut kernel = Kernel::start().expect("the program in the kernel");
    kernel
        .carry_out(&[
            Step::SwapTable(table, slots_of_view.clone()),
            Step::SwapVips(vec![(key, Some(vip))]),
        ])
        .expect("the tables");
    let mut pure = pure::tables();
    pure.slots.insert(table, [slots_of_view.to_vec(), Vec::new()]);
    pure.vips.insert(key, vip);
    let owner = |case: &Case| {
        let found = kernel.run(case).expect("a test run");
        assert_eq!(found, pure::run(&mut pure, case));
        if found.fate == Fate::Pass {
            ME
        } else {
            receiver(&found.bytes).expect("a receiver")
        }
    };
    cases.iter().map(owner).collect()
}

/// An address that a client may have: what the filter takes for no machine's is left out.
fn client(rng: &mut StdRng) -> IpAddr {
    let address = [
        rng.random_range(1..=223),
        rng.random(),
        rng.random(),
        rng.random(),
    ];
    match address {
        [127, rest @ ..] => IpAddr::from([128, rest[0], rest[1], rest[2]]),
        address => address.into(),
    }
}

/// Weights 1, 1, 2 of 3,000: 750, 750, 1,500; 3 points are 90.
fn assert_shares_follow_weights(owners: &[NodeId]) {
    let count = |node: u16| owners.iter().filter(|owner| owner.0 == node).count();
    for (node, expected) in [(1, 750_usize), (2, 750), (3, 1_500)] {
        assert!(
            count(node).abs_diff(expected) < 90,
            "node {node} has {}",
            count(node)
        );
    }
}

#[test]
fn root_kernel_and_pure_function_agree_on_the_owners_of_3000_flows() {
    std::thread::spawn(|| {
        let mut rng = StdRng::seed_from_u64(1);
        let cases: Vec<Case> = (0..3_000)
            .map(|_| syn(client(&mut rng), rng.random_range(1024..65_535), 8001))
            .collect();
        assert_shares_follow_weights(&owners(SteeringCode::FLOW_HASH, &cases));
    })
    .join()
    .unwrap();
}

#[test]
fn root_ip_hash_keeps_each_of_3000_clients_on_one_node() {
    std::thread::spawn(|| {
        let mut rng = StdRng::seed_from_u64(2);
        let clients: Vec<IpAddr> = (0..3_000).map(|_| client(&mut rng)).collect();
        let mut once = || -> Vec<Case> {
            clients
                .iter()
                .map(|client| syn(*client, rng.random_range(1024..65_535), 8001))
                .collect()
        };
        let cases = [once(), once()].concat();
        let owners = owners(SteeringCode::IP_HASH, &cases);
        let (first, second) = owners.split_at(3_000);
        assert_eq!(first, second);
        assert_shares_follow_weights(first);
    })
    .join()
    .unwrap();
}
