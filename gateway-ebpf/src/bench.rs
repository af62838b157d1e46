//! What a benchmark runs in the place of the program that steers; nothing of it is ever attached to a node's interface.
//!
//! `BPF_PROG_TEST_RUN` runs a program on one frame again and again, and does not put the frame back. So `bench` steers
//! it and then undoes that; `bench_floor` does and undoes the same to the bytes without deciding anything: what is between
//! the two is what steering costs.

use core::arch::asm;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::XdpContext;
use gateway_common::abi::{self, Bench, LINK_BYTES, TAGGED_LINK_BYTES};
use gateway_common::frame::{Frame, Opaque};

use crate::frame::XdpFrame;
use crate::maps;
use crate::program::steer_short;

#[map]
static BENCH: PerCpuArray<Bench> = PerCpuArray::with_max_entries(1, 0);

/// Steers a frame of the next flow, and undoes it.
#[xdp]
pub fn bench(context: XdpContext) -> u32 {
    if !begin(&context) {
        return xdp_action::XDP_ABORTED;
    }
    let action = match steer(&context) {
        UNDECIDED => steer_long(&context),
        action => action,
    };
    if undo(&context) {
        action
    } else {
        xdp_action::XDP_ABORTED
    }
}

/// No XDP action.
const UNDECIDED: u32 = u32::MAX;

/// Steers by the short way. A call, for the kernel allows no tail call behind a stack of 256 bytes.
#[inline(never)]
fn steer(context: &XdpContext) -> u32 {
    steer_short(context).unwrap_or(UNDECIDED)
}

/// Goes on where the short way ends, as the program that is attached does. A call, for what it goes on in comes back to
/// whoever called.
#[inline(never)]
fn steer_long(context: &XdpContext) -> u32 {
    maps::go_on_in(context, abi::STEER);
    let nowhere: u64;
    // SAFETY: a constant, of which the compiler must not know that it is one: it would take it for the action of the program
    // that comes back here, too.
    unsafe { asm!("{nowhere} = 0", nowhere = out(reg) nowhere, options(nostack)) };
    nowhere as u32
}

/// Does and undoes what `bench` does to the bytes.
#[xdp]
pub fn bench_floor(context: XdpContext) -> u32 {
    if begin(&context) && act(&context).is_some() && undo(&context) {
        xdp_action::XDP_TX
    } else {
        xdp_action::XDP_ABORTED
    }
}

/// Puts zeroes where an outer header would be, takes away what a node put there, and swaps hardware addresses.
#[inline(always)]
fn act(context: &XdpContext) -> Option<()> {
    let bench = bench_entry()?;
    let mut frame = XdpFrame::new(context);
    let link: Link = frame.read(0)?;
    if bench.shrink_bytes > 0 {
        frame.shrink_head(bench.shrink_bytes as usize).ok()?;
    }
    if bench.grow_bytes > 0 {
        frame.grow_by(bench.grow_bytes as usize).ok()?;
        // The shortest outer header, and the longer ones.
        frame.write(LINK_BYTES, Opaque([0; 10])).ok()?;
        if bench.grow_bytes >= 40 {
            frame.write(LINK_BYTES + 20, Opaque([0; 10])).ok()?;
        }
        if bench.grow_bytes >= 44 {
            frame.write(LINK_BYTES + 40, Opaque([0; 2])).ok()?;
        }
        if bench.grow_bytes >= 64 {
            frame.write(LINK_BYTES + 44, Opaque([0; 10])).ok()?;
        }
    }
    if bench.grow_bytes | bench.shrink_bytes > 0 {
        frame.write(0, swapped(link)).ok()?;
    }
    Some(())
}

/// Ethernet without tags.
type Link = Opaque<7>;

/// The same with its hardware addresses in each other's place.
#[inline(always)]
fn swapped(Opaque([a, b, c, d, e, f, kind]): Link) -> Link {
    Opaque([d, e, f, a, b, c, kind])
}

#[inline(always)]
fn bench_entry<'a>() -> Option<&'a mut Bench> {
    let bench = BENCH.get_ptr_mut(0)?;
    // SAFETY: the entry of this CPU, and XDP is not preempted by itself.
    Some(unsafe { &mut *bench })
}

/// Makes the frame one of the next flow's. A call, as `undo` is: the stack is for the program that steers.
#[inline(never)]
fn begin(context: &XdpContext) -> bool {
    let Some(bench) = bench_entry() else {
        return false;
    };
    let mut frame = XdpFrame::new(context);
    bench.frame_bytes = frame.len() as u32;
    if bench.flows <= 1 {
        return true;
    }
    let next = bench.next;
    bench.next = if next + 1 < bench.flows { next + 1 } else { 0 };
    // The first byte stays 10, as in the network 10.0.0.0/8.
    let words = [(0x0a00 | (next >> 16) as u16).to_be(), (next as u16).to_be()];
    frame.write(bench.client_at as usize, Opaque(words)).is_ok()
}

/// Puts back what a run changed.
#[inline(never)]
fn undo(context: &XdpContext) -> bool {
    restore(context).is_some()
}

#[inline(always)]
fn restore(context: &XdpContext) -> Option<()> {
    let bench = bench_entry()?;
    let mut frame = XdpFrame::new(context);
    let (before, after) = (bench.frame_bytes as usize, frame.len());
    if after > before {
        frame.shrink_head(after - before).ok()?;
    } else if after < before {
        frame.grow_by(before - after).ok()?;
    }
    let start = &bench.start;
    frame
        .write(0, Opaque::<7>(core::array::from_fn(|word| start[word])))
        .ok()?;
    if bench.restored_bytes as usize == TAGGED_LINK_BYTES {
        frame.write(LINK_BYTES, Opaque([start[7], start[8]])).ok()?;
    } else if bench.restored_bytes as usize > LINK_BYTES {
        frame
            .write(
                LINK_BYTES,
                Opaque::<10>(core::array::from_fn(|word| start[7 + word])),
            )
            .ok()?;
        frame
            .write(
                LINK_BYTES + 20,
                Opaque::<10>(core::array::from_fn(|word| start[17 + word])),
            )
            .ok()?;
        frame
            .write(
                LINK_BYTES + 40,
                Opaque::<2>(core::array::from_fn(|word| start[27 + word])),
            )
            .ok()?;
        if bench.restored_bytes as usize > LINK_BYTES + 44 {
            frame
                .write(
                    LINK_BYTES + 44,
                    Opaque::<10>(core::array::from_fn(|word| start[29 + word])),
                )
                .ok()?;
        }
    }
    Some(())
}
