//! An upstream as one worker sees it: its pools, and who of its endpoints takes a request.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::balance::{Intake, Loads, Member, Pick, Picker, Plan, Roster, Standing, mix, slow_start};
use crate::config::snapshot::{Choice, Endpoint, Missing, SubsetFallback, Upstream, UpstreamProtocol};
use crate::l7::error::ProxyError;
use crate::l7::metrics::UpstreamCounters;
use crate::l7::pool::{Pool, Terms, Ways};
use crate::registry::{Channel, Gate, Readiness};

/// An upstream with this worker's turn and pools.
pub(crate) struct ResolvedUpstream {
    pub(in crate::l7) upstream: Arc<Upstream>,
    pub(in crate::l7) counters: Arc<UpstreamCounters>,
    /// All endpoints.
    whole: Part,
    /// In the order of the upstream's.
    subsets: Vec<Part>,
    random: Cell<u64>,
    pub(in crate::l7) endpoints: Vec<ResolvedEndpoint>,
}

/// Endpoints among which one is picked.
struct Part {
    picker: Picker,
    /// Who may be picked, by what was known at that many changes.
    roster: RefCell<(u32, Roster)>,
    /// How many take new requests.
    takers: usize,
}

/// An endpoint with this worker's pool.
pub(crate) struct ResolvedEndpoint {
    /// Over the first way.
    pub(in crate::l7) pool: Rc<Pool>,
    /// Over the others, in their order.
    others: Box<[Rc<Pool>]>,
}

impl ResolvedEndpoint {
    /// The pool of the way that is taken now.
    pub(in crate::l7) fn taken(&self) -> &Rc<Pool> {
        if self.others.is_empty() {
            return &self.pool;
        }
        let other = self.pool.state.channel().checked_sub(1);
        // A snapshot that is not in force any more may have other ways.
        let other = other.and_then(|index| self.others.get(index));
        other.unwrap_or(&self.pool)
    }

    /// The pools of all ways.
    pub(in crate::l7) fn pools(&self) -> impl Iterator<Item = &Rc<Pool>> {
        std::iter::once(&self.pool).chain(&self.others)
    }

    /// The same as one that was held before has them, else new ones.
    fn new(endpoint: &Endpoint, upstream: &Upstream, held: Option<&Self>, terms: Terms) -> Self {
        let (protocol, security) = (upstream.protocol, upstream.security());
        let tls = upstream.tls.as_ref();
        let ways = Ways::of(endpoint, protocol, security);
        let pool = |channel: Channel| {
            let of = |pool: &&Rc<Pool>| pool.is_for(endpoint, channel, tls, ways);
            let same = held.and_then(|held| held.pools().find(of)).map(Rc::clone);
            let pool = same.unwrap_or_else(|| Rc::new(Pool::new(endpoint, channel, tls, ways, terms)));
            pool.set_terms(terms);
            pool
        };
        let address = endpoint.address;
        Self {
            pool: pool(Channel {
                address,
                protocol,
                security,
            }),
            others: endpoint.channels.iter().copied().map(pool).collect(),
        }
    }
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
                let of = |other: &&ResolvedEndpoint| other.pool.endpoint == endpoint.address;
                let held = held.and_then(|held| held.endpoints.iter().find(of));
                ResolvedEndpoint::new(endpoint, upstream, held, terms)
            })
            .collect();
        let part = |plan: &Arc<Plan>, members: &[Member]| Part {
            picker: Picker::new(Arc::clone(plan), worker),
            roster: RefCell::new((upstream.state.changes(), roster(upstream, members))),
            takers: members
                .iter()
                .filter(|member| member.intake == Intake::All)
                .count(),
        };
        let subsets = upstream.subsets.all.iter();
        Self {
            whole: part(&upstream.balancing.plan, &upstream.balancing.members),
            subsets: subsets
                .map(|subset| part(&subset.plan, &subset.members))
                .collect(),
            random: Cell::new(rand::random()),
            counters,
            endpoints,
            upstream: Arc::clone(upstream),
        }
    }

    /// Which endpoint of that choice takes a request of that key; `tried` are left out.
    pub(in crate::l7) fn pick(&self, choice: Choice, key: Option<u64>, tried: &[usize]) -> Option<Pick> {
        let part = self.asked(choice)?;
        part.picker
            .pick(&part.roster.borrow().1, self, key, tried, self.random())
    }

    /// Whether a client that stays with that endpoint may go on there.
    pub(in crate::l7) fn admits(&self, choice: Choice, index: usize) -> Option<Pick> {
        let admits = |part: &Part| part.roster.borrow().1.admits(index);
        // One that drains is among its own, even where the others of its subset are gone.
        let mode = self
            .chosen(choice)
            .and_then(admits)
            .or_else(|| self.asked(choice).and_then(admits))?;
        Some(Pick { index, mode })
    }

    /// Whether that endpoint takes requests of that choice by clients that stay nowhere.
    pub(in crate::l7) fn takes_new(&self, choice: Choice, index: usize) -> bool {
        self.intake(choice, index) == Intake::All
    }

    /// Whether that endpoint takes any requests of that choice.
    pub(in crate::l7) fn takes(&self, choice: Choice, index: usize) -> bool {
        self.intake(choice, index) != Intake::None
    }

    /// How many endpoints take requests of that choice.
    pub(in crate::l7) fn takers(&self, choice: Choice) -> usize {
        self.asked(choice).map_or(0, |part| part.takers)
    }

    fn intake(&self, choice: Choice, index: usize) -> Intake {
        let members = match choice {
            Choice::Whole => Some(&self.upstream.balancing.members),
            Choice::Subset(subset) => self
                .upstream
                .subsets
                .all
                .get(subset)
                .map(|subset| &subset.members),
            Choice::Nobody => None,
        };
        let member = members.and_then(|members| members.get(index));
        member.map_or(Intake::None, |member| member.intake)
    }

    /// Who is asked for a choice: those of it while there are good ones, else those that it falls back to.
    fn asked(&self, choice: Choice) -> Option<&Part> {
        let chosen = self.chosen(choice)?;
        if choice == Choice::Whole || chosen.roster.borrow().1.has_good() {
            return Some(chosen);
        }
        let other = match self.upstream.subsets.fallback {
            SubsetFallback::Any => self.chosen(Choice::Whole),
            SubsetFallback::Subset(subset) => self.chosen(Choice::Subset(subset)),
            SubsetFallback::None => None,
        };
        let other = other.filter(|other| chosen.takers == 0 || other.roster.borrow().1.has_good());
        other.or(Some(chosen))
    }

    /// A choice as it is now.
    fn chosen(&self, choice: Choice) -> Option<&Part> {
        let (part, members) = match choice {
            Choice::Whole => (&self.whole, &self.upstream.balancing.members),
            Choice::Subset(subset) => {
                let members = &self.upstream.subsets.all.get(subset)?.members;
                (self.subsets.get(subset)?, members)
            }
            Choice::Nobody => return None,
        };
        let changes = self.upstream.state.changes();
        let mut held = part.roster.borrow_mut();
        if held.0 != changes {
            *held = (changes, roster(&self.upstream, members));
        }
        Some(part)
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
            .position(|endpoint| endpoint.pool.endpoint == address)
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

/// Who of an upstream's members may be picked now.
fn roster(upstream: &Upstream, members: &[Member]) -> Roster {
    let balancing = &upstream.balancing;
    let slow_start_ms = u64::try_from(balancing.slow_start.as_millis()).unwrap_or(u64::MAX);
    let members = members.iter().zip(&upstream.endpoints);
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
