//! An upstream as one worker sees it: its pools, and who of its endpoints takes a request.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::balance::{Intake, Loads, Member, Pick, Picker, Roster, Standing, mix, slow_start};
use crate::config::snapshot::{Missing, Upstream, UpstreamProtocol};
use crate::l7::error::ProxyError;
use crate::l7::metrics::UpstreamCounters;
use crate::l7::pool::{Pool, Terms};
use crate::registry::{Gate, Readiness};

/// An upstream with this worker's turn and pools.
pub(crate) struct ResolvedUpstream {
    pub(in crate::l7) upstream: Arc<Upstream>,
    pub(in crate::l7) counters: Arc<UpstreamCounters>,
    picker: Picker,
    /// Who may be picked, by what was known at that many changes.
    roster: RefCell<(u32, Roster)>,
    random: Cell<u64>,
    pub(in crate::l7) endpoints: Vec<ResolvedEndpoint>,
}

/// An endpoint with this worker's pool.
pub(crate) struct ResolvedEndpoint {
    pub(in crate::l7) pool: Rc<Pool>,
}

impl ResolvedUpstream {
    pub(super) fn new(
        upstream: &Arc<Upstream>,
        held: Option<&Self>,
        counters: Arc<UpstreamCounters>,
        worker: usize,
        workers: usize,
    ) -> Self {
        let terms = Terms::share(upstream, workers);
        let endpoints: Vec<_> = upstream
            .endpoints
            .iter()
            .map(|endpoint| {
                let same = held.and_then(|held| {
                    let of = |other: &&ResolvedEndpoint| other.pool.is_for(endpoint, upstream.protocol);
                    held.endpoints.iter().find(of).map(|found| Rc::clone(&found.pool))
                });
                let pool = same.unwrap_or_else(|| Rc::new(Pool::new(endpoint, upstream.protocol, terms)));
                pool.set_terms(terms);
                ResolvedEndpoint { pool }
            })
            .collect();
        let changes = upstream.state.changes();
        let roster = roster(upstream);
        Self {
            picker: Picker::new(Arc::clone(&upstream.balancing.plan), worker),
            roster: RefCell::new((changes, roster)),
            random: Cell::new(rand::random()),
            counters,
            endpoints,
            upstream: Arc::clone(upstream),
        }
    }

    /// Which endpoint takes a request of that key; `tried` are left out.
    pub(in crate::l7) fn pick(&self, key: Option<u64>, tried: &[usize]) -> Option<Pick> {
        self.renew_roster();
        let held = self.roster.borrow();
        self.picker.pick(&held.1, self, key, tried, self.random())
    }

    /// Whether a client that stays with that endpoint may go on there.
    pub(in crate::l7) fn admits(&self, index: usize) -> Option<Pick> {
        self.renew_roster();
        let mode = self.roster.borrow().1.admits(index)?;
        Some(Pick { index, mode })
    }

    /// Whether that endpoint takes requests of clients that stay nowhere.
    pub(in crate::l7) fn takes_new(&self, index: usize) -> bool {
        let member = self.upstream.balancing.members.get(index);
        member.is_some_and(|member| member.intake == Intake::All)
    }

    fn renew_roster(&self) {
        let changes = self.upstream.state.changes();
        let mut held = self.roster.borrow_mut();
        if held.0 != changes {
            *held = (changes, roster(&self.upstream));
        }
    }

    /// 64 fresh bits, of no use to anybody who wants secrets.
    pub(in crate::l7) fn random(&self) -> u64 {
        let next = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(next);
        mix(next)
    }

    /// The endpoint at that address.
    pub(in crate::l7) fn position(&self, address: SocketAddr) -> Option<usize> {
        self.endpoints
            .iter()
            .position(|endpoint| endpoint.pool.address == address)
    }

    pub(in crate::l7) fn protocol(&self) -> UpstreamProtocol {
        self.upstream.protocol
    }

    /// Why nobody can be asked, where no endpoint is left.
    pub(in crate::l7) fn missing(&self) -> ProxyError {
        match self.upstream.missing {
            Missing::Nothing | Missing::Unregistered => ProxyError::NoEndpoint,
            Missing::Unresolved => ProxyError::EndpointUnresolved,
            Missing::Loop => ProxyError::LoopDetected,
        }
    }
}

impl Loads for ResolvedUpstream {
    fn active(&self, index: usize) -> u32 {
        let endpoint = self.endpoints.get(index);
        endpoint.map_or(0, |endpoint| endpoint.pool.state.active.load(Ordering::Relaxed))
    }

    fn latency(&self, index: usize) -> u32 {
        let (Some(ewma), Some(endpoint)) = (self.upstream.balancing.ewma, self.endpoints.get(index)) else {
            return 0;
        };
        let word = endpoint.pool.state.latency.load(Ordering::Relaxed);
        let now_ms = u64::try_from(self.upstream.state.now().as_millis()).unwrap_or(u64::MAX);
        ewma.read(word, now_ms)
    }
}

/// Who of an upstream may be picked now.
fn roster(upstream: &Upstream) -> Roster {
    let balancing = &upstream.balancing;
    let slow_start_ms = u64::try_from(balancing.slow_start.as_millis()).unwrap_or(u64::MAX);
    let members = balancing.members.iter().zip(&upstream.endpoints);
    let members: Vec<Member> = members
        .map(|(member, endpoint)| {
            let state = &endpoint.state;
            let since_ms = u64::try_from(state.since().as_millis()).unwrap_or(u64::MAX);
            let started = slow_start(since_ms, slow_start_ms);
            let (standing, share) = match (state.readiness(), state.gate()) {
                // Trial calls are not picked: they are handed out.
                (Readiness::Failing, _) | (_, Gate::Shut | Gate::Trials) => (Standing::Failing, started),
                _ if state.is_ejected() => (Standing::Failing, started),
                (Readiness::Ready, Gate::Share(share)) => (Standing::Ready, share.min(started)),
                (Readiness::Unknown, Gate::Share(share)) => (Standing::Unknown, share.min(started)),
            };
            Member {
                standing,
                share,
                ..*member
            }
        })
        .collect();
    Roster::new(&members, &balancing.terms)
}
