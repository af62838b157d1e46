//! The phases of a client's connection and the limits of each: pure, no clock or socket of its own.

use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::snapshot::ListenerHttp;

/// From the order to end in order to the cut, where no request is under way: a client that answers no GOAWAY.
const FINISH_MAX: Duration = Duration::from_secs(5);
/// HTTP/1: a connection without a request for so long gives its buffers up. Making them anew costs some 2 µs.
const REST_AFTER: Duration = Duration::from_millis(500);
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
    /// Give up what HTTP/1 holds for a client that asks for nothing, until it does.
    Rest,
}

/// Why an order was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Nothing came.
    FirstByte,
    /// A head did not end.
    Head,
    /// Nothing was asked for.
    Idle,
    /// The client takes nothing.
    Stalled,
    /// The listener or the node goes, or the connection is old enough.
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
    /// Then it leaves by itself.
    old_at: Option<Instant>,
    /// Of its listener.
    leave: Option<(Leave, Instant)>,
    /// Since when the node wants all connections to end; taken back, it holds no more for who was not told yet.
    node_since: Option<Instant>,
    told: Option<(Order, Instant)>,
}

impl Life {
    /// `age`: when it is to leave, less up to a tenth, so that connections made together do not end together.
    pub(super) fn new(now: Instant, age: Option<Duration>) -> Self {
        let age = age.map(|age| age.mul_f64(rand::random_range(0.9..=1.0)));
        Self {
            old_at: age.and_then(|age| now.checked_add(age)),
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

    /// Whether it was ordered to end at once.
    pub(super) fn is_cut(&self) -> bool {
        matches!(self.told, Some((Order::Cut, _)))
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
    pub(super) fn received(&mut self, now: Instant) {
        match self.phase {
            Phase::Busy | Phase::Head => {}
            // Pings and the like.
            Phase::Idle if self.protocol == Protocol::Http2 => {}
            Phase::Silent | Phase::Idle => self.enter(Phase::Head, now),
        }
    }

    /// It speaks HTTP/2: such a connection has no head of its own, and may be opened in advance.
    pub(super) fn http2(&mut self, now: Instant) {
        self.protocol = Protocol::Http2;
        self.enter(Phase::Idle, now);
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
    pub(super) fn check(
        &mut self,
        now: Instant,
        node: Option<Leave>,
        limits: &ListenerHttp,
    ) -> Option<(Order, Cause)> {
        self.node_since = node.map(|_| self.node_since.unwrap_or(now));
        if self.leave.is_none() && self.old_at.is_some_and(|old_at| now >= old_at) {
            self.leave(Leave { by: None }, now);
        }
        let (order, cause) = self.wanted(now, node, limits)?;
        match self.told {
            Some((told, _)) if told == order || told == Order::Cut => None,
            _ => {
                self.told = Some((order, now));
                Some((order, cause))
            }
        }
    }

    fn wanted(&self, now: Instant, node: Option<Leave>, limits: &ListenerHttp) -> Option<(Order, Cause)> {
        let after = |since: Instant, limit: Duration| now.saturating_duration_since(since) >= limit;
        if self
            .blocked_since
            .is_some_and(|since| after(since, limits.stalled_timeout))
        {
            return Some((Order::Cut, Cause::Stalled));
        }
        if self.phase == Phase::Idle
            && let Some((Order::Finish, since)) = self.told
            && after(since, FINISH_MAX)
            && after(self.since, FINISH_MAX)
        {
            return Some((Order::Cut, Cause::Idle));
        }
        // An idle connection ends in order; from a slow one nothing is to be expected.
        let (limit, order, cause) = match (self.phase, self.protocol) {
            (Phase::Silent, _) => (limits.first_byte_timeout, Order::Cut, Cause::FirstByte),
            (Phase::Head, _) => (limits.head_timeout, Order::Cut, Cause::Head),
            (Phase::Idle, Protocol::Http1) => (limits.keep_alive_timeout, Order::Finish, Cause::Idle),
            (Phase::Idle, Protocol::Http2) => (limits.h2_idle_timeout, Order::Finish, Cause::Idle),
            // Requests and tunnels have limits of their own.
            (Phase::Busy, _) => (Duration::MAX, Order::Finish, Cause::Idle),
        };
        if after(self.since, limit) {
            return Some((order, cause));
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

    /// Whether nothing happened on it for a while, nothing is to happen, and nothing is left to be written.
    pub(super) fn may_rest(&self, now: Instant) -> bool {
        self.phase == Phase::Idle
            && self.protocol == Protocol::Http1
            && self.blocked_since.is_none()
            && self.leave.is_none()
            && self.told.is_none()
            && now.saturating_duration_since(self.since) >= REST_AFTER
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
        Bytes,
        Preface,
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
        use Step::{Begin, Blocked, Bytes, End, Leave as Go, Pass, Preface, Written};
        let rows: &[Row] = &[
            (&[Pass(9)], &[], "silent, not yet"),
            (&[Pass(30)], &[(10, Cut)], "silent"),
            (
                &[Pass(9), Bytes, Pass(30)],
                &[(24, Cut)],
                "a head that never ends",
            ),
            (
                &[Bytes, Pass(10), Bytes, Pass(10)],
                &[(15, Cut)],
                "drops do not extend a head",
            ),
            (
                &[Bytes, Begin(Http1), Pass(500)],
                &[],
                "a request has limits of its own",
            ),
            (
                &[Begin(Http1), End, Pass(100)],
                &[(75, Finish), (80, Cut)],
                "idle",
            ),
            (
                &[Begin(Http1), End, Pass(70), Bytes, Pass(20)],
                &[(85, Cut)],
                "a second head",
            ),
            (&[Preface, Pass(179)], &[], "HTTP/2 opened in advance"),
            (
                &[Preface, Pass(99), Bytes, Pass(82)],
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
            (&[Bytes, Go(None), Pass(2)], &[], "a head may end"),
            (&[Bytes, Go(Some(3)), Pass(5)], &[(3, Cut)], "but not for ever"),
        ];
        for (steps, expected, why) in rows {
            let start = Instant::now();
            let mut now = start;
            let mut life = Life::new(now, None);
            let limits = ListenerHttp::default();
            let mut orders = Vec::new();
            for step in *steps {
                match *step {
                    Bytes => life.received(now),
                    Preface => life.http2(now),
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
                            if let Some((order, _)) = life.check(now, None, &limits) {
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
    fn an_old_connection_leaves_by_itself() {
        let start = Instant::now();
        let mut life = Life::new(start, Some(Duration::from_secs(100)));
        life.begin(Protocol::Http1);
        let limits = ListenerHttp::default();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(life.check(at(89), None, &limits), None);
        assert_eq!(
            life.check(at(101), None, &limits),
            Some((Order::Finish, Cause::Leave))
        );
        assert!(life.is_leaving(), "responses say so");
    }

    #[test]
    fn the_earlier_of_two_limits_counts_and_the_nodes_order_can_be_taken_back() {
        let limits = ListenerHttp::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for (first, second) in [
            (None, Some(at(5))),
            (Some(at(30)), Some(at(5))),
            (Some(at(5)), None),
        ] {
            let mut life = Life::new(start, None);
            life.begin(Protocol::Http1);
            life.leave(Leave { by: first }, start);
            life.leave(Leave { by: second }, start);
            assert_eq!(
                life.check(at(4), None, &limits),
                Some((Order::Finish, Cause::Leave))
            );
            assert_eq!(life.check(at(5), None, &limits), Some((Order::Cut, Cause::Leave)));
        }
        let mut life = Life::new(start, None);
        life.begin(Protocol::Http1);
        life.end(start);
        assert_eq!(
            life.check(start, Some(Leave { by: None }), &limits),
            None,
            "within the grace"
        );
        assert_eq!(life.check(at(2), None, &limits), None, "taken back");
        assert_eq!(
            life.check(at(3), Some(Leave { by: None }), &limits),
            None,
            "a grace of its own"
        );
    }
}
