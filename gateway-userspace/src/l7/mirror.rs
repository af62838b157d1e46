//! Copies of requests (`mirror`): sent to another upstream beside the one that answers; their own answers are thrown away.
//!
//! A copy goes out once the client's body passed whole, in a task of its own: no request waits for it, and none ends
//! because of it. Breakers and outlier detection learn nothing of copies, so that they keep nobody's requests out; limits
//! of the upstream hold for them. Copies end with the worker.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use http::request::Parts;
use http::{Request, Version, header};
use tokio::sync::oneshot::Receiver;
use tokio::time::timeout;

use super::attempt::{Outgoing, Resends};
use super::body::{Copied, RequestBody, Upload};
use super::hash_key;
use super::pool::{Lease, Origin, Seat, Try, Want};
use super::record::IsCall;
use super::resolved::{ResolvedMirror, ResolvedUpstream};
use super::sticky;
use super::target;
use crate::registry::Gate;
use crate::resilience::limits::{Permit, UNLIMITED};

/// Whether a request is to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mirrors {
    No,
    Yes,
}

macro_rules! ends {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What became of a copy.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum End {
            $($(#[$doc])* $variant,)*
        }

        impl End {
            /// Every one, in the order of [`End::index`].
            pub(super) const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The label of metrics.
            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

ends! {
    /// The upstream answered, whatever it said.
    Answered = "answered",
    /// It was asked, or was to be connected to, and did not answer in time.
    Failed = "failed",
    /// It has nobody who may be asked now, or no room by its limits.
    Unavailable = "unavailable",
    /// `requests_max` copies are under way.
    Full = "full",
    /// The body is longer than `replay_bytes_max`, or the node keeps as much of bodies as it may.
    TooLarge = "too-large",
    /// The client's body did not pass whole.
    Broken = "broken",
}

impl End {
    /// Its position in [`End::ALL`].
    pub(super) fn index(self) -> usize {
        Self::ALL.iter().position(|end| *end == self).unwrap_or_default()
    }
}

/// A copy on its way.
struct Job {
    upstream: Rc<ResolvedUpstream>,
    head: Parts,
    body: Option<Receiver<Copied>>,
    client: IpAddr,
    is_call: IsCall,
    requests_max: u32,
    limit: Duration,
}

/// Sends a copy of a request, as the first upstream gets it; `limit` bounds it from when its body is whole.
pub(super) fn send(mirror: &ResolvedMirror, outgoing: &Outgoing, client: IpAddr, limit: Duration) {
    let mut head = outgoing.head.clone();
    // Whoever waits for that word waits for that of the upstream that answers.
    head.headers.remove(header::EXPECT);
    if let Some(settings) = &mirror.upstream.upstream.sticky {
        sticky::take(&mut head.headers, settings);
    }
    let job = Job {
        upstream: Rc::clone(&mirror.upstream),
        head,
        body: outgoing.upload.as_ref().map(|upload| upload.copied()),
        client,
        is_call: outgoing.is_call,
        requests_max: mirror.requests_max,
        limit,
    };
    drop(tokio::task::spawn_local(async move {
        let counters = Rc::clone(&job.upstream);
        let end = job.run().await;
        if let Some(cell) = counters.counters.mirrored.get(end.index()) {
            cell.add(1);
        }
    }));
}

impl Job {
    async fn run(mut self) -> End {
        let upload = match self.body.take() {
            None => None,
            Some(body) => match body.await {
                Ok(Copied::Whole(upload)) => Some(upload),
                Ok(Copied::TooLarge) => return End::TooLarge,
                Err(_) => return End::Broken,
            },
        };
        let state = &self.upstream.upstream.state;
        let Some(_permit) = state.mirrors.try_acquire(self.requests_max) else {
            return End::Full;
        };
        let limit = self.limit;
        timeout(limit, self.ask(upload)).await.unwrap_or(End::Failed)
    }

    async fn ask(&self, upload: Option<Rc<Upload>>) -> End {
        let Some((seat, _place)) = self.seat() else {
            return End::Unavailable;
        };
        let pool = Rc::clone(seat.pool());
        let mut outgoing = Outgoing {
            head: self.head.clone(),
            upload,
            gate: None,
            resends: Resends::No,
            is_call: self.is_call,
            mirrors: Mirrors::No,
        };
        let spoken = target::speak(&mut outgoing, pool.channel.protocol);
        let secured = spoken.and_then(|()| target::secure(&mut outgoing.head, pool.channel.security));
        if secured.is_err() {
            return End::Unavailable;
        }
        let body = RequestBody::new(outgoing.upload.as_ref());
        let mut request = Request::from_parts(outgoing.head, body);
        let (mut seat, mut want) = (Some(seat), Want::Any);
        loop {
            let Ok((mut lease, origin)) = Lease::take(&mut seat, want).await else {
                pool.failed();
                return End::Failed;
            };
            match lease.send(request).await {
                Ok(response) => {
                    if response.version() == Version::HTTP_10 {
                        lease.retire();
                    }
                    lease.discard(response);
                    return End::Answered;
                }
                Err(mut failure) => match failure.take_message() {
                    // It was idle for too long, and nothing was sent.
                    Some(same) if origin == Origin::Reused => {
                        drop(lease);
                        (request, want) = (same, Want::Fresh);
                        seat = pool.seat();
                    }
                    _ => {
                        pool.failed();
                        return End::Failed;
                    }
                },
            }
        }
    }

    /// A place at an endpoint, and one at the whole upstream if its requests are limited.
    fn seat(&self) -> Option<(Seat, Option<Permit>)> {
        let upstream = &self.upstream.upstream;
        match upstream.state.gate() {
            Gate::Share(1_000) => {}
            Gate::Share(share) if self.upstream.random() % 1_000 < u64::from(share) => {}
            Gate::Share(_) | Gate::Trials | Gate::Shut => return None,
        }
        let place = match upstream.limits.whole.requests {
            UNLIMITED => None,
            max => Some(upstream.state.requests.try_acquire(max)?),
        };
        let choice = upstream.subsets.choose(None, &self.head.headers);
        let key = hash_key::key(&upstream.balancing.by, &self.head, self.client);
        let pick = self.upstream.pick(choice, key, &[])?;
        let endpoint = self.upstream.endpoints.get(pick.index)?;
        let seat = Seat::take(endpoint.taken(), &upstream.limits.endpoint, Try::First);
        let (seat, _) = seat.ok()?;
        Some((seat, place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_own_place_and_name() {
        for (index, end) in End::ALL.iter().enumerate() {
            assert_eq!(end.index(), index);
            let others = End::ALL.iter().filter(|other| other.name() == end.name());
            assert_eq!(others.count(), 1, "{end:?}");
        }
    }
}
