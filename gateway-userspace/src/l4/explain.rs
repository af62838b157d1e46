//! What becomes of a client's packet that comes to this node: the function that runs in the kernel, run here over what the
//! kernel's maps say now.
//!
//! [`decide`] runs it over any tables; [`Reader::explain`] reads the maps into such tables; [`tell`] says in words what it
//! asked and decided. The maps are read one after the other: while a change is written, the answer may be of neither state.

mod frame;
mod live;
mod told;
mod traced;

use gateway_common::encap::Format;
use gateway_common::forward::{self, LEASE_NS, Notes};
use gateway_common::node::NodeId;
use gateway_common::parse::Family;
use gateway_common::tables::Tables;
use gateway_common::verdict::{Action, Reason};
use gateway_common::vip::VipId;

use crate::explain::packet::Question;

pub use live::Reader;
pub use told::{Around, tell};
pub use traced::Look;

use frame::frame;
use traced::Traced;

/// What was decided, and what was asked for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// What becomes of the packet.
    pub end: End,
    /// Why.
    pub reason: Reason,
    /// Its VIP, by the number of its counters; 0: none.
    pub vip: VipId,
    /// When, on the kernel's clock.
    pub now_ns: u64,
    /// What was asked of the tables, in its order.
    pub looks: Vec<Look>,
    /// Nanoseconds since user space last said that it lives, where that is so long ago that nodes must be heard.
    pub lease_age_ns: Option<u64>,
    /// The name of that other interface.
    pub exit: Option<String>,
    /// Why the kernel did not say which socket would take it; then one was supposed by the configuration.
    pub socket_unknown: Option<String>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// This node's stack gets it.
    Pass,
    /// Nobody does.
    Drop,
    /// Another node does.
    Send {
        /// That one.
        to: NodeId,
        /// What is put around it.
        format: Format,
        /// The family of that.
        outer: Family,
        /// The interface that it leaves by, where that is another than it came in by; else 0.
        interface: u32,
    },
    /// Its sender is told what would have fitted, in bytes.
    TooBig(u16),
    /// Something else, which no client's packet of this kind comes to.
    Else,
}

/// Decides what becomes of a packet, over those tables.
pub fn decide(question: &Question, tables: &impl Tables) -> Decided {
    let traced = Traced::new(tables);
    let frame = frame(question);
    let mut notes = Notes::default();
    let verdict = forward::decide(&frame, &traced, &mut notes);
    let end = match verdict.action {
        Action::Pass => End::Pass,
        Action::Drop => End::Drop,
        Action::Send => End::Send {
            to: verdict.node,
            format: notes.hop().format,
            outer: notes.hop().outer,
            interface: notes.hop().interface,
        },
        Action::AnswerTooBig => End::TooBig(notes.mtu()),
        Action::Decapsulate | Action::AnswerEcho => End::Else,
    };
    let (reason, vip) = (verdict.reason, verdict.vip);
    let lease = tables.lease_ns();
    let age = tables.now_ns().saturating_sub(lease);
    Decided {
        end,
        reason,
        vip,
        now_ns: tables.now_ns(),
        looks: traced.into_looks(),
        lease_age_ns: (lease != 0 && age > LEASE_NS).then_some(age),
        exit: None,
        socket_unknown: None,
    }
}

#[cfg(test)]
mod tests;
