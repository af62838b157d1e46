//! The packet cases on the pure function and in the kernel, and both side by side on many flows.

use std::net::{IpAddr, Ipv4Addr};

use gateway::l4::owners::{OwnersCache, slots};
use gateway::l4::plan::Step;
use gateway::view::{Member, View};
use gateway_common::node::NodeId;
use gateway_common::verdict::Fate;
use gateway_common::vip::{TableId, VipEntry, VipId};
use gateway_tests::packets::build::{Packet, SYN, frame};
use gateway_tests::packets::cases::{self, Case, Outcome, Twist};
use gateway_tests::packets::kernel::{Kernel, receiver, vip_key};
use gateway_tests::packets::pure;
use gateway_tests::packets::world::{MAC_HERE, MAC_ROUTER, ME, Version};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

fn compare(run: impl Fn(&Case) -> Outcome + Copy) {
    let cases = cases::all();
    assert!(cases.len() >= 60, "only {} cases", cases.len());
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
fn every_reason_but_headroom_has_a_case() {
    let cases = cases::all();
    for reason in gateway_common::verdict::Reason::ALL {
        let is_shown = cases.iter().any(|case| case.expected.reason == *reason);
        // A driver gives 256 bytes of headroom, and the test run as much: it cannot be used up by one header.
        let cannot_be_shown = *reason == gateway_common::verdict::Reason::NoHeadroom;
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
    }
}

#[test]
fn root_kernel_and_pure_function_agree_on_the_owners_of_3000_flows() {
    std::thread::spawn(|| {
        let view = View {
            members: vec![member(1, 1), member(2, 1), member(3, 2)],
            ..View::default()
        };
        let table: std::sync::Arc<[_]> = slots(&mut OwnersCache::default(), &view, ME).into();
        let key = vip_key(Version::V4.vip(), 8001);
        let vip = VipEntry {
            id: VipId(1),
            table: TableId(0),
            salt: 9,
            ..VipEntry::default()
        };
        let mut kernel = Kernel::start().unwrap();
        kernel
            .carry_out(&[Step::SwapTable(TableId(0), table.clone()), Step::PutVip(key, vip)])
            .unwrap();
        let mut pure = pure::tables();
        pure.slots.insert(TableId(0), [table.to_vec(), Vec::new()]);
        pure.vips.insert(key, vip);

        let mut rng = StdRng::seed_from_u64(1);
        let mut shares = [0_u32; 4];
        for _ in 0..3_000 {
            let client = IpAddr::from(Ipv4Addr::from(rng.random::<u32>()));
            let packet = Packet::tcp(
                (client, rng.random_range(1024..65_535)),
                (Version::V4.vip(), 8001),
                SYN,
            );
            let case = Case {
                name: "spread".to_owned(),
                twist: Twist::None,
                frame: frame(MAC_HERE, MAC_ROUTER, &[], 0x0800, &packet.bytes()),
                remembered: None,
                watched: None,
                expected: Outcome {
                    fate: Fate::Pass,
                    reason: gateway_common::verdict::Reason::NotIp,
                    bytes: Vec::new(),
                    remembers: None,
                },
            };
            let found = kernel.run(&case).unwrap();
            assert_eq!(found, pure::run(&mut pure, &case));
            let owner = if found.fate == Fate::Pass {
                ME
            } else {
                receiver(&found.bytes).unwrap()
            };
            shares[usize::from(owner.0)] += 1;
        }
        // Weights 1, 1, 2 of 3,000: 750, 750, 1,500; 3 points are 90.
        for (node, expected) in [(1, 750_u32), (2, 750), (3, 1_500)] {
            assert!(shares[node].abs_diff(expected) < 90, "{shares:?}");
        }
    })
    .join()
    .unwrap();
}
