//! The programs of the object that are attached: the one that steers, in two guises, and one that passes everything.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::debug;
use gateway_common::frame::Frame;
use gateway_common::verdict::{Fate, Reason};
use gateway_common::{abi, forward};

use crate::frame::XdpFrame;
use crate::maps::{self, KernelTables};
use crate::{run, trace};

/// What is attached: hands a frame to the program in the first slot of the chain, or steers it.
#[xdp]
pub fn gateway(context: XdpContext) -> u32 {
    maps::go_on_in(&context, abi::BEFORE);
    steer_frame(&context)
}

/// Where that program goes on. The same again, for `gateway` would hand it the frame once more.
#[xdp]
pub fn steer(context: XdpContext) -> u32 {
    steer_frame(&context)
}

/// Steers a frame, and says what the kernel does with it: asks what becomes of it, does it, counts it.
#[inline(always)]
pub fn steer_frame(context: &XdpContext) -> u32 {
    let mut frame = XdpFrame::new(context);
    let bytes = frame.len() as u64;
    // First, for it writes into the notes.
    trace::begin(context);
    let Some(notes) = run::notes() else {
        // The map has this entry on every CPU.
        return xdp_action::XDP_ABORTED;
    };
    notes.clock.read();
    let tables = KernelTables::new(context, &notes.clock);
    let mut verdict = forward::decide(&frame, &tables, &mut notes.decision);
    let fate = forward::apply(&mut frame, &mut verdict, &notes.decision);
    trace::end(&verdict, bytes);
    match fate {
        Fate::Pass => {
            maps::go_on_in(context, abi::AFTER);
            xdp_action::XDP_PASS
        }
        Fate::Transmit => xdp_action::XDP_TX,
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
