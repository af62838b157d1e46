//! The packet cases while packets are traced: nothing comes out otherwise, and what is told is so.

use std::net::IpAddr;

use gateway_common::abi;
use gateway_common::prefix::Prefix;
use gateway_common::trace::{PacketEvent, Trace};
use gateway_common::verdict::{Action, Fate, Reason};
use gateway_tests::packets::cases;
use gateway_tests::packets::kernel::{Kernel, everything, receiver};
use gateway_tests::packets::world::{COOKIE_MARK, Version};

use super::compare;

/// The start of a frame that was told.
fn head(event: &PacketEvent) -> Vec<u8> {
    let bytes = event.head.iter().flatten().flat_map(|word| word.to_ne_bytes());
    bytes.take(event.captured_bytes()).collect()
}

#[test]
fn root_cases_hold_in_the_kernel_while_packets_are_traced() {
    std::thread::spawn(|| {
        let mut kernel = Kernel::start().unwrap();
        kernel.trace(&[everything().unwrap()]).unwrap();
        let kernel = std::cell::RefCell::new(kernel);
        compare(|case| {
            let outcome = kernel.borrow_mut().run(case).unwrap();
            let told = kernel.borrow_mut().told().unwrap();
            let [event] = told.as_slice() else {
                panic!("`{}` is told {} times", case.name, told.len());
            };
            let name = &case.name;
            assert_eq!(Reason::ALL[usize::from(event.reason)], outcome.reason, "`{name}`");
            let action = Action::ALL[usize::from(event.action)];
            let fates: &[Fate] = match action {
                Action::Pass | Action::Decapsulate => &[Fate::Pass],
                Action::Drop => &[Fate::Drop],
                // Without headroom, or by an interface that is gone.
                Action::Send => &[Fate::Transmit, Fate::Redirect, Fate::Drop],
                Action::AnswerEcho | Action::AnswerTooBig => &[Fate::Transmit],
            };
            assert!(
                fates.contains(&outcome.fate),
                "`{name}`: {action:?}, {:?}",
                outcome.fate
            );
            assert_eq!(event.frame_bytes as usize, case.frame.len(), "`{name}`");
            assert_eq!(event.interface, 1, "`{name}`");
            // A cookie's numbers are put into the frame only when it is run.
            let has_numbers = case
                .frame
                .windows(COOKIE_MARK.len())
                .any(|bytes| bytes == COOKIE_MARK);
            if !has_numbers {
                let bytes = case.frame.iter().copied().take(event.captured_bytes());
                assert_eq!(head(event), bytes.collect::<Vec<_>>(), "`{name}`");
            }
            let goes_on = action == Action::Send && outcome.fate != Fate::Drop;
            let to = goes_on.then(|| receiver(&outcome.bytes)).flatten();
            assert_eq!(
                to.filter(|to| *to != event.node),
                None,
                "`{name}`: {:?}",
                event.node
            );
            outcome
        });
        let count = kernel.borrow().trace_count(0).unwrap();
        let all = cases::all().len() as u64;
        assert_eq!(
            (count.seen, count.sampled, count.limited, count.lost),
            (all, all, 0, 0)
        );
    })
    .join()
    .unwrap();
}

#[test]
fn root_traces_tell_what_each_wants_and_end_by_themselves() {
    std::thread::spawn(|| {
        let mut kernel = Kernel::start().unwrap();
        let one = |name: &str| {
            let all = cases::all();
            all.into_iter()
                .find(|case| case.expected.reason.name() == name && case.name.starts_with("V4"))
        };
        let to_owner = one("to-owner").expect("a case");
        let everything = everything().unwrap();
        let client = match Version::V4.client() {
            IpAddr::V4(address) => Prefix::new(address.into(), 32),
            IpAddr::V6(_) => None,
        };
        let (mask, prefix) = client.expect("a prefix").halves();
        let of_client = Trace {
            mask,
            prefix,
            ..everything
        };
        let of_another = Trace {
            prefix: [prefix[0], !prefix[1]],
            ..of_client
        };
        let of_no_vip = Trace {
            vip: Trace::NO_VIP,
            ..everything
        };
        kernel
            .trace(&[of_another, of_client, of_no_vip, everything])
            .unwrap();
        kernel.run(&to_owner).unwrap();
        let told = kernel.told().unwrap();
        assert_eq!(told.len(), 1, "one event for all who want it");
        assert_eq!(told[0].traces, 0b1010);
        assert_eq!(IpAddr::from(told[0].source), Version::V4.client());
        let seen: Vec<u64> = (0..4)
            .map(|place| kernel.trace_count(place).unwrap().seen)
            .collect();
        assert_eq!(seen, [0, 1, 0, 1]);

        // Only packets for one VIP.
        let vip = u64::from(told[0].vip.0);
        for (vip, expected) in [(vip, 1), (vip + 1, 0)] {
            let of_vip = Trace { vip, ..everything };
            kernel.trace(&[of_vip]).unwrap();
            kernel.run(&to_owner).unwrap();
            assert_eq!(kernel.told().unwrap().len(), expected, "VIP {vip}");
        }

        // One packet a second, and what is kept back is counted.
        let slow = Trace {
            rate: Trace::rate(1),
            ..everything
        };
        kernel.trace(&[slow]).unwrap();
        let before = kernel.trace_count(0).unwrap();
        for _ in 0..20 {
            kernel.run(&to_owner).unwrap();
        }
        let after = kernel.trace_count(0).unwrap();
        let told = kernel.told().unwrap().len() as u64;
        assert_eq!(after.seen - before.seen, 20);
        // Each CPU has a bucket of its own, and a run may take a second.
        assert!((1..20).contains(&told), "{told}");
        assert_eq!(after.limited - before.limited, 20 - told);

        // Whoever does not renew it is gone: the program stops looking, by itself.
        let over = Trace {
            until_ns: 1,
            ..everything
        };
        kernel.trace(&[over]).unwrap();
        assert!(kernel.looks_at_traces().unwrap());
        kernel.run(&to_owner).unwrap();
        assert!(kernel.told().unwrap().is_empty() && !kernel.looks_at_traces().unwrap());
    })
    .join()
    .unwrap();
}

#[test]
fn root_what_the_ring_has_no_room_for_is_counted_as_lost() {
    std::thread::spawn(|| {
        let mut kernel = Kernel::start().unwrap();
        let case = cases::all()
            .into_iter()
            .find(|case| case.expected.reason == Reason::NotAVip);
        let case = case.expect("a case");
        kernel.trace(&[everything().unwrap()]).unwrap();
        // Each event has a head of eight bytes before it.
        let room = abi::TRACE_EVENTS_BYTES as usize / (size_of::<PacketEvent>() + 8);
        for _ in 0..room + 10 {
            kernel.act(&case).unwrap();
        }
        let told = kernel.told().unwrap().len();
        let lost = kernel.trace_count(0).unwrap().lost as usize;
        assert_eq!(told + lost, room + 10);
        assert!(told <= room && told + 1 >= room, "{told} of {room}");
    })
    .join()
    .unwrap();
}
