//! `gateway deny`: whose packets the running node drops, and changes of that.

use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Subcommand};
use gateway::admin::deny::{self, Body, Change, Changed, Listed};
use http::Method;

use super::Connection;
use super::show::show;
use super::table::{Style, Table, word};

/// What is asked of the lists.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Deny {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Drop what these networks or addresses send, from this moment on.
    Add {
        /// As in 198.51.100.0/24 or 2001:db8::1.
        #[arg(value_name = "PREFIX", required = true, value_parser = prefix)]
        prefixes: Vec<String>,
        /// For how long, as in 10m [default: for good].
        #[arg(long = "for", value_name = "TIME", value_parser = lasts)]
        lasts: Option<Duration>,
        /// Why, for whoever looks at the list.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        connection: Connection,
    },
    /// Drop it no longer.
    Remove {
        /// As it was added.
        #[arg(value_name = "PREFIX", value_parser = prefix)]
        prefix: String,
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show what is denied, by whom, and for how long.
    List(Connection),
}

/// Whether a change is made.
#[derive(Debug, Args)]
struct How {
    /// Say what would come of it, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl How {
    fn query(&self) -> &'static str {
        if self.dry_run { "?dry_run=true" } else { "" }
    }
}

/// Prefixes become a path: what is none is said here.
fn prefix(text: &str) -> Result<String, String> {
    deny::prefix(text).map(|prefix| prefix.to_string())
}

fn lasts(text: &str) -> Result<Duration, String> {
    deny::lasts(text)
}

/// `gateway deny`.
pub fn deny(asked: &Deny) -> anyhow::Result<()> {
    match &asked.what {
        None => list(&asked.connection),
        Some(What::List(connection)) => list(connection),
        Some(What::Add {
            prefixes,
            lasts,
            reason,
            how,
            connection,
        }) => {
            let body = Body {
                prefixes: prefixes.clone(),
                lasts: lasts.map(|lasts| humantime::format_duration(lasts).to_string()),
                reason: reason.clone(),
            };
            let body = Bytes::from(serde_json::to_vec(&body)?);
            let path = format!("/v1/deny{}", how.query());
            let (changed, value) = connection.client().send::<Changed>(Method::POST, &path, body)?;
            show(connection.form(), &value, |_| changed_text(&changed))
        }
        Some(What::Remove {
            prefix,
            how,
            connection,
        }) => {
            let path = format!("/v1/deny/{prefix}{}", how.query());
            let (changed, value) = connection.client().ask::<Changed>(Method::DELETE, &path)?;
            show(connection.form(), &value, |_| changed_text(&changed))
        }
    }
}

fn list(connection: &Connection) -> anyhow::Result<()> {
    let (listed, value) = connection.client().ask::<Listed>(Method::GET, "/v1/deny")?;
    show(connection.form(), &value, |style| list_text(&listed, style))
}

fn list_text(listed: &Listed, style: Style) -> String {
    let mut denied = Table::new(&["DENIED", "UNTIL", "SINCE", "REASON"]);
    for shown in &listed.denied {
        denied.row([
            (&shown.prefix).into(),
            shown.until.as_deref().unwrap_or("for good").into(),
            (&shown.since).into(),
            shown.reason.as_deref().unwrap_or_default().into(),
        ]);
    }
    let mut lists = Table::new(&["LIST", "FROM", "PREFIXES"]);
    for list in &listed.lists {
        lists.row([(&list.list).into(), (&list.from).into(), list.prefixes.into()]);
    }
    let mut text = format!("{}\n{}\n", denied.text(style), lists.text(style));
    let scope = word(&listed.scope);
    text.push_str(&format!(
        "{} prefixes are denied in the kernel, for {scope}",
        listed.in_kernel
    ));
    if listed.waiting > 0 {
        text.push_str(&format!("; {} changes wait to be written", listed.waiting));
    }
    if listed.refused > 0 {
        text.push_str(&format!("; for {} there was no room", listed.refused));
    }
    text.push('\n');
    text
}

fn changed_text(changed: &Changed) -> String {
    let mut text = String::new();
    let (would, nothing) = match changed.dry_run {
        true => ("would be", "; nothing was changed"),
        false => ("is", ""),
    };
    for one in &changed.prefixes {
        let becomes = match (&one.change, &one.until) {
            (Change::Removed, _) => "no longer denied here".to_owned(),
            (_, Some(until)) => format!("denied until {until}"),
            (_, None) => "denied for good".to_owned(),
        };
        text.push_str(&format!("{} {would} {becomes}{nothing}\n", one.prefix));
        if !one.spared.is_empty() {
            text.push_str(&format!("  but not {}\n", one.spared.join(", ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use gateway::admin::deny::{ChangedPrefix, List, Shown};
    use gateway::config::snapshot::Scope;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        deny: Deny,
    }

    #[test]
    fn orders_name_prefixes_and_times_or_are_wrong_usage() {
        for (given, is_good) in [
            (&["list"][..], true),
            (&[], true),
            (
                &[
                    "add",
                    "10.0.0.0/8",
                    "::1",
                    "--for",
                    "10m",
                    "--reason",
                    "x",
                    "--dry-run",
                    "--json",
                ],
                true,
            ),
            (&["remove", "10.0.0.0/8", "--dry-run"], true),
            (&["add"], false),
            (&["add", "10.0.0.0/33"], false),
            (&["add", "10.0.0.0/8", "--for", "0s"], false),
            (&["add", "10.0.0.0/8", "--for", "ten"], false),
            (&["remove"], false),
        ] {
            let read = Line::try_parse_from(["deny"].iter().chain(given));
            assert_eq!(read.is_ok(), is_good, "{given:?}: {read:?}");
        }
    }

    #[test]
    fn what_became_of_prefixes_and_what_is_denied_is_told_in_words() {
        let one = |change, until: Option<&str>, spared: &[&str]| ChangedPrefix {
            prefix: "10.0.0.0/8".to_owned(),
            change,
            until: until.map(str::to_owned),
            spared: spared.iter().map(|text| (*text).to_owned()).collect(),
        };
        let changed = Changed {
            prefixes: vec![
                one(
                    Change::Added,
                    Some("2026-01-31T12:00:00Z"),
                    &["10.0.0.11 (node gw-1)"],
                ),
                one(Change::Removed, None, &[]),
            ],
            dry_run: false,
        };
        assert_eq!(
            changed_text(&changed),
            "10.0.0.0/8 is denied until 2026-01-31T12:00:00Z\n  but not 10.0.0.11 (node gw-1)\n\
             10.0.0.0/8 is no longer denied here\n"
        );
        let listed = Listed {
            denied: vec![Shown {
                prefix: "10.0.0.0/8".to_owned(),
                since: "2026-01-31T12:00:00Z".to_owned(),
                until: None,
                reason: Some("x".to_owned()),
            }],
            lists: vec![List {
                list: "deny".to_owned(),
                from: "protection.deny".to_owned(),
                prefixes: 3,
            }],
            scope: Scope::Vips,
            in_kernel: 2,
            waiting: 2,
            refused: 0,
        };
        let text = list_text(&listed, Style::Plain);
        assert!(
            text.contains("10.0.0.0/8  for good  2026-01-31T12:00:00Z  x\n"),
            "{text}"
        );
        assert!(text.contains("deny  protection.deny  3\n"), "{text}");
        assert!(
            text.ends_with("2 prefixes are denied in the kernel, for vips; 2 changes wait to be written\n"),
            "{text}"
        );
    }
}
