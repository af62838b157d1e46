//! The phases of a client's connection and the limits of each: pure, no clock or socket of its own.

use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

/// From accept to the first byte.
const FIRST_BYTE_MAX: Duration = Duration::from_secs(10);
/// From a head's first byte to its end.
const HEAD_MAX: Duration = Duration::from_secs(15);
/// HTTP/1: between two requests.
const IDLE_MAX: Duration = Duration::from_secs(75);
/// HTTP/2: without a stream.
const H2_IDLE_MAX: Duration = Duration::from_secs(180);
/// The client takes no byte of what we hold.
const STALLED_MAX: Duration = Duration::from_secs(30);
/// From the order to end in order to the cut, where no request is under way: a client that answers no GOAWAY.
const FINISH_MAX: Duration = Duration::from_secs(5);
/// A connection that is to end and has no request is given so long for one, which is answered with
/// `Connection: close`: closing at once would lose a request that is on its way.
const LEAVE_GRACE: Duration = Duration::from_secs(1);

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No byte came yet.
    Silent,
    /// A head began.
    Head,
    /// A request is under way.
    Busy,
    /// Between requests.
    Idle,
}

/// What the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::l7) enum Protocol {
    Http1,
    Http2,
}

/// That a connection is to end after the response under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::l7) struct Leave {
    /// Then it is cut.
    pub(in crate::l7) by: Option<Instant>,
}

/// What is wanted of the connection's task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// End in order: after the response under way, at once if there is none.
    Finish,
    /// End.
    Cut,
}

/// Why an order was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A limit of time was reached.
    Limit,
    /// The listener or the node goes.
    Leave,
}

/// One connection's life so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    phase: Phase,
    /// When the phase began.
    since: Instant,
    protocol: Protocol,
    active: u32,
    blocked_since: Option<Instant>,
    /// Of its listener.
    leave: Option<(Leave, Instant)>,
    /// Since when the node wants all connections to end; taken back, it holds no more for who was not told yet.
    node_since: Option<Instant>,
    told: Option<(Order, Instant)>,
}

impl Life {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Silent,
            since: now,
            protocol: Protocol::Http1,
            active: 0,
            blocked_since: None,
            leave: None,
            node_since: None,
            told: None,
        }
    }

    /// Requests under way.
    pub(super) fn active(&self) -> u32 {
        self.active
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leave.is_some()
    }

    /// A request's head is read.
    pub(super) fn begin(&mut self, protocol: Protocol) {
        self.protocol = protocol;
        self.active = self.active.saturating_add(1);
        self.phase = Phase::Busy;
    }

    /// A request's response ended, or never will.
    pub(super) fn end(&mut self, now: Instant) {
        self.active = self.active.saturating_sub(1);
        if self.active == 0 {
            self.enter(Phase::Idle, now);
        }
    }

    /// Bytes came from the client.
    pub(super) fn received(&mut self, bytes: &[u8], now: Instant) {
        match self.phase {
            Phase::Busy | Phase::Head => {}
            // The preface of HTTP/2: such a connection has no head of its own, and may be opened in advance.
            Phase::Silent if bytes.starts_with(b"PRI") => {
                self.protocol = Protocol::Http2;
                self.enter(Phase::Idle, now);
            }
            // Pings and the like.
            Phase::Idle if self.protocol == Protocol::Http2 => {}
            Phase::Silent | Phase::Idle => self.enter(Phase::Head, now),
        }
    }

    /// Whether the client takes what we write.
    pub(super) fn writes(&mut self, outcome: Poll<()>, now: Instant) {
        self.blocked_since = match outcome {
            Poll::Ready(()) => None,
            Poll::Pending => self.blocked_since.or(Some(now)),
        };
    }

    /// It is to end after the response under way. Of several such orders the earliest cut counts.
    pub(super) fn leave(&mut self, leave: Leave, now: Instant) {
        let (held, _) = self.leave.get_or_insert((leave, now));
        held.by = match (held.by, leave.by) {
            (Some(held), Some(other)) => Some(held.min(other)),
            (held, other) => held.or(other),
        };
    }

    /// What is to be done now, if it was not said before. `node` is what holds for all connections of the worker.
    pub(super) fn check(&mut self, now: Instant, node: Option<Leave>) -> Option<(Order, Cause)> {
        self.node_since = node.map(|_| self.node_since.unwrap_or(now));
        let (order, cause) = self.wanted(now, node)?;
        match self.told {
            Some((told, _)) if told == order || told == Order::Cut => None,
            _ => {
                self.told = Some((order, now));
                Some((order, cause))
            }
        }
    }

    fn wanted(&self, now: Instant, node: Option<Leave>) -> Option<(Order, Cause)> {
        let after = |since: Instant, limit: Duration| now.saturating_duration_since(since) >= limit;
        let is_stalled = self.blocked_since.is_some_and(|since| after(since, STALLED_MAX));
        let limit = match (self.phase, self.protocol) {
            (Phase::Silent, _) => FIRST_BYTE_MAX,
            (Phase::Head, _) => HEAD_MAX,
            (Phase::Idle, Protocol::Http1) => IDLE_MAX,
            (Phase::Idle, Protocol::Http2) => H2_IDLE_MAX,
            (Phase::Busy, _) => Duration::MAX,
        };
        if is_stalled {
            return Some((Order::Cut, Cause::Limit));
        }
        if self.phase == Phase::Idle
            && let Some((Order::Finish, since)) = self.told
            && after(since, FINISH_MAX)
            && after(self.since, FINISH_MAX)
        {
            return Some((Order::Cut, Cause::Limit));
        }
        if after(self.since, limit) {
            // An idle connection ends in order; from a slow one nothing is to be expected.
            let order = if self.phase == Phase::Idle {
                Order::Finish
            } else {
                Order::Cut
            };
            return Some((order, Cause::Limit));
        }
        let own_since = self.leave.map(|(_, since)| since);
        let since = [own_since, self.node_since].into_iter().flatten().min()?;
        let by = [
            self.leave.and_then(|(leave, _)| leave.by),
            node.and_then(|leave| leave.by),
        ];
        if by.iter().flatten().any(|by| now >= *by) {
            return Some((Order::Cut, Cause::Leave));
        }
        let order = match (self.phase, self.protocol) {
            // GOAWAY refuses nothing that was sent before it: no grace is needed.
            (Phase::Idle, Protocol::Http2) | (Phase::Busy, _) => Order::Finish,
            (Phase::Idle, Protocol::Http1) if after(since, LEAVE_GRACE) => Order::Finish,
            (Phase::Silent, _) if after(since, LEAVE_GRACE) => Order::Cut,
            (Phase::Idle | Phase::Silent | Phase::Head, _) => return None,
        };
        Some((order, Cause::Leave))
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client does, and what time does.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Bytes(&'static [u8]),
        Begin(Protocol),
        End,
        Blocked,
        Written,
        Leave(Option<u64>),
        /// So many seconds pass, with a check at each.
        Pass(u64),
    }

    /// What happens, the orders with the second they are given in, and why.
    type Row = (&'static [Step], &'static [(u64, Order)], &'static str);

    #[test]
    fn every_phase_has_its_limit_and_every_end_its_order() {
        use Order::{Cut, Finish};
        use Protocol::{Http1, Http2};
        use Step::{Begin, Blocked, Bytes, End, Leave as Go, Pass, Written};
        const PREFACE: &[u8] = b"PRI * HTTP/2.0";
        let rows: &[Row] = &[
            (&[Pass(9)], &[], "silent, not yet"),
            (&[Pass(30)], &[(10, Cut)], "silent"),
            (
                &[Pass(9), Bytes(b"GET"), Pass(30)],
                &[(24, Cut)],
                "a head that never ends",
            ),
            (
                &[Bytes(b"G"), Pass(10), Bytes(b"E"), Pass(10)],
                &[(15, Cut)],
                "drops do not extend a head",
            ),
            (
                &[Bytes(b"G"), Begin(Http1), Pass(500)],
                &[],
                "a request has limits of its own",
            ),
            (
                &[Begin(Http1), End, Pass(100)],
                &[(75, Finish), (80, Cut)],
                "idle",
            ),
            (
                &[Begin(Http1), End, Pass(70), Bytes(b"G"), Pass(20)],
                &[(85, Cut)],
                "a second head",
            ),
            (&[Bytes(PREFACE), Pass(179)], &[], "HTTP/2 opened in advance"),
            (
                &[Bytes(PREFACE), Pass(99), Bytes(b"ping"), Pass(82)],
                &[(180, Finish)],
                "pings do not extend",
            ),
            (
                &[Begin(Http2), Begin(Http2), End, Pass(500)],
                &[],
                "another stream is under way",
            ),
            (
                &[Begin(Http1), Blocked, Pass(20), Blocked, Pass(20)],
                &[(30, Cut)],
                "reads nothing",
            ),
            (
                &[Begin(Http1), Blocked, Pass(20), Written, Pass(20)],
                &[],
                "reads slowly",
            ),
            (
                &[Begin(Http1), Go(None), Pass(99)],
                &[(1, Finish)],
                "leaves while busy",
            ),
            (
                &[Begin(Http1), Go(Some(5)), Pass(9)],
                &[(1, Finish), (5, Cut)],
                "busy beyond the limit",
            ),
            (
                &[Begin(Http1), End, Pass(1), Go(None), Pass(3)],
                &[(2, Finish)],
                "leaves idle, after the grace",
            ),
            (
                &[Begin(Http2), End, Go(None), Pass(9)],
                &[(1, Finish), (6, Cut)],
                "HTTP/2 leaves, or is cut",
            ),
            (&[Go(None), Pass(2)], &[(1, Cut)], "leaves silent"),
            (&[Bytes(b"G"), Go(None), Pass(2)], &[], "a head may end"),
            (
                &[Bytes(b"G"), Go(Some(3)), Pass(5)],
                &[(3, Cut)],
                "but not for ever",
            ),
        ];
        for (steps, expected, why) in rows {
            let start = Instant::now();
            let mut now = start;
            let mut life = Life::new(now);
            let mut orders = Vec::new();
            for step in *steps {
                match *step {
                    Bytes(bytes) => life.received(bytes, now),
                    Begin(protocol) => life.begin(protocol),
                    End => life.end(now),
                    Blocked => life.writes(Poll::Pending, now),
                    Written => life.writes(Poll::Ready(()), now),
                    Go(by) => {
                        let by = by.map(|seconds| start + Duration::from_secs(seconds));
                        life.leave(Leave { by }, now);
                    }
                    Pass(seconds) => {
                        for _ in 0..seconds {
                            now += Duration::from_secs(1);
                            if let Some((order, _)) = life.check(now, None) {
                                orders.push(((now - start).as_secs(), order));
                            }
                        }
                    }
                }
            }
            assert_eq!(orders, *expected, "{why}");
        }
    }

    #[test]
    fn the_earlier_of_two_limits_counts_and_the_nodes_order_can_be_taken_back() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for (first, second) in [
            (None, Some(at(5))),
            (Some(at(30)), Some(at(5))),
            (Some(at(5)), None),
        ] {
            let mut life = Life::new(start);
            life.begin(Protocol::Http1);
            life.leave(Leave { by: first }, start);
            life.leave(Leave { by: second }, start);
            assert_eq!(life.check(at(4), None), Some((Order::Finish, Cause::Leave)));
            assert_eq!(life.check(at(5), None), Some((Order::Cut, Cause::Leave)));
        }
        let mut life = Life::new(start);
        life.begin(Protocol::Http1);
        life.end(start);
        assert_eq!(
            life.check(start, Some(Leave { by: None })),
            None,
            "within the grace"
        );
        assert_eq!(life.check(at(2), None), None, "taken back");
        assert_eq!(
            life.check(at(3), Some(Leave { by: None })),
            None,
            "a grace of its own"
        );
    }
}
