//! Prefixes that the admin API denies: judged, kept for the next start, then written to the kernel.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use gateway_common::prefix::Prefix;
use tokio::task::spawn_blocking;

use super::controller::Controller;
use super::reload::failed;
use crate::admin::ApiError;
use crate::admin::deny::{Change, Changed, ChangedPrefix, List, Listed, Order, Shown, Wish};
use crate::admin::routes::Run;
use crate::config::denied::{Ban, Denied, time_text};
use crate::config::limits;
use crate::config::snapshot::{Prefixes, Protection};
use crate::l4::deny::Told;
use crate::l4::maps::now_ns;
use crate::l4::{DataPlane, desired};
use crate::view::View;

/// What lies within a prefix and is spared: so much of it is told.
const SPARED_MAX: usize = 16;

impl Controller {
    /// Whose packets are dropped.
    ///
    /// # Errors
    /// There is no data plane.
    pub(super) fn denied(&self) -> Result<Listed, ApiError> {
        let dataplane = self.parts.dataplane.as_ref().ok_or_else(no_dataplane)?;
        let snapshot = self.snapshot();
        Ok(listed(
            &self.parts.denied,
            &snapshot.protection,
            &dataplane.lists().told(),
            SystemTime::now(),
        ))
    }

    /// Denies prefixes, or does so no longer. What it answers holds for every packet that comes after it.
    ///
    /// # Errors
    /// There is no data plane; one of them can never be denied, or is not; it cannot be kept, or not be written. Nothing has
    /// changed then.
    pub(super) async fn change_denied(&mut self, order: Order) -> Result<Changed, ApiError> {
        if self.parts.dataplane.is_none() {
            return Err(no_dataplane());
        }
        let now = SystemTime::now();
        let (snapshot, view) = (self.snapshot(), self.view());
        let before = Arc::clone(&self.parts.denied);
        let judged = judged(&order, &before, &snapshot.protection, &view, now)?;
        let answer = Changed {
            prefixes: judged.told,
            dry_run: order.run == Run::Dry,
        };
        if order.run == Run::Dry {
            return Ok(answer);
        }
        let next = Arc::new(before.with(&judged.changes, now));
        if next.len() > limits::DENIED_SET_MAX {
            let most = limits::DENIED_SET_MAX;
            return Err(ApiError::Conflict(format!(
                "With these, more than {most} prefixes would be denied here: put some into a file of protection.deny_files."
            )));
        }
        self.keep_denied(&next).await?;
        let changes = judged.changes.iter().map(|(prefix, ban)| (*prefix, ban.as_ref()));
        if let Err(error) = self.write_denied(changes, now).await {
            let undone = judged
                .changes
                .iter()
                .map(|(prefix, _)| (*prefix, before.get(prefix, now)));
            if let Err(also) = self.write_denied(undone, now).await {
                tracing::error!(reason = %also, "what was denied before cannot be restored in the kernel");
            }
            if let Err(also) = self.keep_denied(&before).await {
                tracing::error!(reason = %also, "the prefixes that were kept before cannot be restored");
            }
            return Err(error);
        }
        self.parts.denied = next;
        for told in &answer.prefixes {
            let change = told.change.word();
            tracing::info!(
                prefix = told.prefix,
                change,
                until = told.until,
                "the admin API changed who is denied"
            );
        }
        Ok(answer)
    }

    async fn write_denied<'b>(
        &mut self,
        changes: impl Iterator<Item = (Prefix, Option<&'b Ban>)>,
        now: SystemTime,
    ) -> Result<(), ApiError> {
        let Some(dataplane) = self.parts.dataplane.as_ref() else {
            return Err(no_dataplane());
        };
        let orders = orders(changes, now)?;
        let written = dataplane.lists().deny(orders);
        self.meanwhile(written).await.map_err(failed)
    }

    async fn keep_denied(&mut self, denied: &Arc<Denied>) -> Result<(), ApiError> {
        let writing = Arc::clone(denied);
        let error = match self.meanwhile(spawn_blocking(move || writing.store())).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        let file = denied.file().display();
        Err(ApiError::Failed(format!(
            "{file} cannot be written, where prefixes are kept that are denied here: {error}. Make its directory writable for \
             the gateway, or name another file with admin.denied_file."
        )))
    }
}

/// Has the kernel deny what was kept; it is written while the node goes on to start.
pub fn deny_kept(denied: &Denied, dataplane: &DataPlane) -> Result<(), ApiError> {
    let now = SystemTime::now();
    let kept = denied.at(now).map(|(prefix, ban)| (*prefix, Some(ban)));
    // It is on its way; that it could not be written stands in the log.
    drop(dataplane.lists().deny(orders(kept, now)?));
    Ok(())
}

/// The same as the kernel counts time.
fn orders<'b>(
    changes: impl Iterator<Item = (Prefix, Option<&'b Ban>)>,
    now: SystemTime,
) -> Result<Vec<(Prefix, Option<u64>)>, ApiError> {
    let boot_ns = now_ns().map_err(failed)?;
    let until_ns = |ban: &Ban| {
        let Some(until) = ban.until else {
            return gateway_common::protection::FOREVER_NS;
        };
        let left = until.duration_since(now).unwrap_or_default();
        boot_ns.saturating_add(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX))
    };
    Ok(changes.map(|(prefix, ban)| (prefix, ban.map(until_ns))).collect())
}

/// What an order comes to.
struct Judged {
    changes: Vec<(Prefix, Option<Ban>)>,
    told: Vec<ChangedPrefix>,
}

fn judged(
    order: &Order,
    denied: &Denied,
    protection: &Protection,
    view: &View,
    now: SystemTime,
) -> Result<Judged, ApiError> {
    let mut judged = Judged {
        changes: Vec::new(),
        told: Vec::new(),
    };
    for prefix in &order.prefixes {
        let held = denied.get(prefix, now);
        let (ban, change) = match &order.wish {
            Wish::Deny { lasts, reason } => {
                may_be_denied(prefix, &protection.allow, view)?;
                let ban = Ban {
                    since: held.map_or(now, |held| held.since),
                    until: lasts.map(|lasts| now + lasts),
                    reason: reason.clone(),
                };
                (Some(ban), held.map_or(Change::Added, |_| Change::Changed))
            }
            Wish::Release if held.is_none() => return Err(not_denied_here(prefix, protection)),
            Wish::Release => (None, Change::Removed),
        };
        judged.told.push(ChangedPrefix {
            prefix: prefix.to_string(),
            change,
            until: ban.as_ref().and_then(|ban| ban.until).map(time_text),
            spared: match ban {
                Some(_) => spared(prefix, &protection.allow, view),
                None => Vec::new(),
            },
        });
        judged.changes.push((*prefix, ban));
    }
    Ok(judged)
}

/// Nodes with their addresses as prefixes.
fn nodes(view: &View) -> impl Iterator<Item = (&str, IpAddr, Prefix)> {
    let addresses =
        |member| desired::addresses(member).map(|address| (address, Prefix::host(address.into())));
    view.members.iter().flat_map(move |member| {
        addresses(member).map(|(address, prefix)| (member.name.as_str(), address, prefix))
    })
}

fn may_be_denied(prefix: &Prefix, allow: &Prefixes, view: &View) -> Result<(), ApiError> {
    if let Some((name, address, _)) = nodes(view).find(|(_, _, node)| node == prefix) {
        return Err(ApiError::Conflict(format!(
            "{address} is node {name}: nodes are never denied."
        )));
    }
    if allow.cover(prefix) {
        return Err(ApiError::Conflict(format!(
            "{prefix} is allowed by protection.allow or a file of protection.allow_files, which come first: remove it there, \
             and run `gateway reload`."
        )));
    }
    Ok(())
}

/// What lies within a prefix and is not denied.
fn spared(prefix: &Prefix, allow: &Prefixes, view: &View) -> Vec<String> {
    let within = nodes(view).filter(|(_, _, node)| prefix.covers(node));
    let within = within.map(|(name, address, _)| format!("{address} (node {name})"));
    let range = prefix.covered();
    let first = allow.all.partition_point(|allowed| allowed < range.start());
    let allowed = allow
        .all
        .iter()
        .skip(first)
        .take_while(|allowed| *allowed <= range.end());
    within
        .chain(allowed.map(ToString::to_string))
        .take(SPARED_MAX)
        .collect()
}

fn not_denied_here(prefix: &Prefix, protection: &Protection) -> ApiError {
    if protection.deny.all.binary_search(prefix).is_ok() {
        return ApiError::Conflict(format!(
            "{prefix} is denied by the configuration (protection.deny or a file of protection.deny_files): remove it there, \
             and run `gateway reload`."
        ));
    }
    ApiError::NotFound(format!(
        "{prefix} is not denied here; `gateway deny list` shows what is."
    ))
}

fn listed(denied: &Denied, protection: &Protection, told: &Told, now: SystemTime) -> Listed {
    use std::sync::atomic::Ordering::Relaxed;
    let shown = |(prefix, ban): (&Prefix, &Ban)| Shown {
        prefix: prefix.to_string(),
        since: time_text(ban.since),
        until: ban.until.map(time_text),
        reason: ban.reason.clone(),
    };
    let lists = |list: &'static str, prefixes: &Prefixes| {
        let one = |(from, prefixes): &(String, usize)| List {
            list: list.to_owned(),
            from: from.clone(),
            prefixes: *prefixes,
        };
        prefixes.sources.iter().map(one).collect::<Vec<_>>()
    };
    Listed {
        denied: denied.at(now).map(shown).collect(),
        lists: [lists("allow", &protection.allow), lists("deny", &protection.deny)].concat(),
        scope: protection.scope,
        in_kernel: told.denied.load(Relaxed),
        waiting: told.waiting.load(Relaxed),
        refused: told.refused.load(Relaxed),
    }
}

fn no_dataplane() -> ApiError {
    ApiError::Conflict(
        "This node steers nothing and so denies nobody: [dataplane] is missing in its configuration."
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gateway_common::node::NodeId;

    use super::*;
    use crate::config::validate;
    use crate::view::{Member, SetId};

    fn prefix(text: &str) -> Prefix {
        validate::prefix(text).unwrap()
    }

    fn view() -> View {
        let member = Member {
            id: NodeId(1),
            name: "gw-1".to_owned(),
            address: Some([10, 0, 0, 11].into()),
            address_v6: None,
            weight: 1,
            incarnation: 7,
            serves: SetId::ALL,
        };
        View {
            members: vec![member],
            ..View::default()
        }
    }

    fn protection() -> Protection {
        let list = |texts: &[&str]| Prefixes {
            all: texts.iter().map(|text| prefix(text)).collect(),
            sources: vec![("x".to_owned(), texts.len())],
        };
        Protection {
            allow: list(&["192.0.2.0/25", "198.51.100.0/24"]),
            deny: list(&["203.0.113.0/24"]),
            ..Protection::default()
        }
    }

    fn order(text: &str, wish: Wish) -> Order {
        Order {
            prefixes: vec![prefix(text)],
            wish,
            run: Run::Real,
        }
    }

    fn deny(seconds: Option<u64>) -> Wish {
        Wish::Deny {
            lasts: seconds.map(Duration::from_secs),
            reason: None,
        }
    }

    #[test]
    fn nodes_and_whoever_is_allowed_are_never_denied_and_spared_within_what_is() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let none = Denied::default();
        let judge = |text, wish| judged(&order(text, wish), &none, &protection(), &view(), now);
        let refused = |text, wish| judge(text, wish).map(drop).unwrap_err().to_string();
        assert_eq!(
            refused("10.0.0.11", deny(None)),
            "10.0.0.11 is node gw-1: nodes are never denied."
        );
        assert!(refused("198.51.100.7", deny(None)).contains("is allowed by protection.allow"));
        assert!(refused("203.0.113.0/24", Wish::Release).contains("is denied by the configuration"));
        assert!(refused("203.0.113.0/25", Wish::Release).contains("is not denied here"));
        let wide = judge("10.0.0.0/8", deny(Some(60))).unwrap();
        assert_eq!(wide.told[0].spared, ["10.0.0.11 (node gw-1)"]);
        assert_eq!(wide.told[0].until.as_deref(), Some("1970-01-01T00:17:40Z"));
        assert_eq!(
            judge("192.0.2.0/24", deny(None)).unwrap().told[0].spared,
            ["192.0.2.0/25"]
        );
        assert_eq!(
            judge("192.0.2.128/25", deny(None)).unwrap().told[0].spared,
            [""; 0]
        );
    }

    #[test]
    fn what_is_denied_is_changed_and_released() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let mut denied = Denied::default();
        let mut judge = |text, wish, seconds| {
            let judged = judged(&order(text, wish), &denied, &protection(), &view(), at(seconds))?;
            denied = denied.with(&judged.changes, at(seconds));
            Ok::<_, ApiError>(judged.told[0].change)
        };
        assert_eq!(judge("10.1.0.0/16", deny(Some(60)), 100), Ok(Change::Added));
        assert_eq!(judge("10.1.0.0/16", deny(Some(10)), 110), Ok(Change::Changed));
        assert_eq!(
            judge("10.1.0.0/16", deny(None), 120),
            Ok(Change::Added),
            "the ban was over"
        );
        assert_eq!(judge("10.1.0.0/16", Wish::Release, 130), Ok(Change::Removed));
        assert!(matches!(
            judge("10.1.0.0/16", Wish::Release, 130),
            Err(ApiError::NotFound(_))
        ));
    }

    #[test]
    fn times_are_told_to_the_kernel_as_it_counts_them() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let ban = |until| Ban {
            since: now,
            until,
            reason: None,
        };
        let (short, long) = (ban(Some(now + Duration::from_secs(9))), ban(None));
        let rows = [
            (prefix("10.0.0.0/8"), Some(&short)),
            (prefix("11.0.0.0/8"), Some(&long)),
            (prefix("12.0.0.0/8"), None),
        ];
        let before = now_ns().unwrap();
        let orders = orders(rows.into_iter(), now).unwrap();
        let until = orders[0].1.unwrap();
        assert!(
            (9_000_000_000..10_000_000_000).contains(&(until - before)),
            "{until}"
        );
        assert_eq!(orders[1].1, Some(u64::MAX));
        assert_eq!(orders[2].1, None);
    }
}
