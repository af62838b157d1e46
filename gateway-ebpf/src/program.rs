//! The programs of the object that are attached: the two that steer, one behind the other, and one that passes everything.
//!
//! Two, for the verifier takes each by itself; and what takes the short way, which most packets do, never pays for what the
//! long one keeps beside the stack.

use core::sync::atomic::{Ordering, compiler_fence};

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::debug;
use gateway_common::frame::Frame;
use gateway_common::verdict::{Fate, Reason, Verdict};
use gateway_common::{abi, forward};

use crate::frame::XdpFrame;
use crate::maps::{self, KernelTables};
use crate::{counts, run, trace};

/// What is attached: hands a frame to the program in the first slot of the chain, or steers it.
#[xdp]
pub fn gateway(context: XdpContext) -> u32 {
    maps::go_on_in(&context, abi::BEFORE);
    if let Some(action) = steer_short(&context) {
        return action;
    }
    maps::go_on_in(&context, abi::STEER);
    // User space puts the other one there before it attaches this one: who took it away wants no steering.
    xdp_action::XDP_PASS
}

/// What goes on with a frame that the short way does not take, or that an operator's own program saw first: decides what
/// becomes of it, does it, and says what the kernel does with it.
#[xdp]
pub fn steer(context: XdpContext) -> u32 {
    trace::begin(&context);
    let Some(notes) = run::notes() else {
        // The map has this entry on every CPU.
        return xdp_action::XDP_ABORTED;
    };
    notes.clock.read();
    let tables = KernelTables::new(&context, &notes.clock);
    let mut frame = XdpFrame::new(&context);
    let bytes = frame.len() as u64;
    notes.verdict = forward::decide(&frame, &tables, &mut notes.decision);
    // Read again behind it: the verifier would follow each verdict through all that is done by it.
    compiler_fence(Ordering::SeqCst);
    let fate = forward::apply(&mut frame, &mut notes.verdict, &notes.decision);
    let fate = maps::exit(fate, notes.decision.hop().interface, &mut notes.verdict);
    trace::end(notes);
    end(&context, &notes.verdict, bytes, fate)
}

/// Steers a frame by the short way, and says what the kernel does with it; `None`: nothing was done, the long way has to. So
/// it has while somebody traces, for it alone notes what can be told.
#[inline(always)]
pub fn steer_short(context: &XdpContext) -> Option<u32> {
    if trace::is_on() {
        return None;
    }
    let mut frame = XdpFrame::new(context);
    let bytes = frame.len() as u64;
    let notes = run::notes()?;
    notes.clock.read();
    let tables = KernelTables::new(context, &notes.clock);
    let fate = forward::short(&mut frame, &tables, &mut notes.verdict)?;
    Some(end(context, &notes.verdict, bytes, fate))
}

/// Counts a frame, and says what the kernel does with it.
#[inline(always)]
fn end(context: &XdpContext, verdict: &Verdict, bytes: u64, fate: Fate) -> u32 {
    counts::count(verdict, bytes);
    match fate {
        Fate::Pass => {
            maps::go_on_in(context, abi::AFTER);
            xdp_action::XDP_PASS
        }
        Fate::Transmit => xdp_action::XDP_TX,
        Fate::Redirect => xdp_action::XDP_REDIRECT,
        Fate::Drop => {
            log_refusal(context, verdict.reason);
            xdp_action::XDP_DROP
        }
    }
}

/// Passes everything: `XDP_TX` on one end of a veth reaches the other only where that has a program, too.
#[xdp]
pub fn pass(_context: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Logs what was dropped; the level is off unless user space was told to debug.
#[inline(always)]
fn log_refusal(context: &XdpContext, reason: Reason) {
    debug!(context, "dropped a frame: reason {}", reason as u32);
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier proves that nothing gets here: an endless loop would be refused.
    loop {}
}
