//! `/v1/deny` and `/v1/deny/{prefix}`: whose packets are dropped, and a change of that.

use std::time::Duration;

use gateway_common::prefix::Prefix;
use http::Method;
use serde::{Deserialize, Serialize};

use super::routes::Run;
use crate::config::snapshot::Scope;
use crate::config::{limits, validate};

/// What can be asked of the lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `GET /v1/deny`.
    List,
    /// `POST /v1/deny`.
    Add,
    /// `DELETE /v1/deny/{prefix}`.
    Remove(String),
}

/// A change that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Of these prefixes, each once.
    pub prefixes: Vec<Prefix>,
    /// What becomes of them.
    pub wish: Wish,
    /// Whether it is done.
    pub run: Run,
}

/// What becomes of prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// They are denied.
    Deny {
        /// For so long; `None`: for good.
        lasts: Option<Duration>,
        /// Why, for people.
        reason: Option<String>,
    },
    /// They are no longer.
    Release,
}

/// The body of `POST /v1/deny`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// Networks or addresses.
    pub prefixes: Vec<String>,
    /// A length of time as in `"10m"`; absent: for good.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub lasts: Option<String>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The answer to a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// One for each prefix, in the order of the request.
    pub prefixes: Vec<ChangedPrefix>,
    /// Whether nothing of that was done.
    pub dry_run: bool,
}

/// What became of one prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedPrefix {
    /// As the kernel has it.
    pub prefix: String,
    /// What became of it.
    pub change: Change,
    /// Until when it is denied, as in `2026-01-31T12:00:00Z`; absent: for good, or not at all.
    pub until: Option<String>,
    /// What lies within it and is not denied: nodes, and what `protection.allow` has; the first ones, if there are many.
    pub spared: Vec<String>,
}

/// What became of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was not denied by the admin API.
    Added,
    /// It was, for another time or reason.
    Changed,
    /// It is no longer.
    Removed,
}

impl Change {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
}

/// The answer to `GET /v1/deny`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Prefixes that were denied here, in their order.
    pub denied: Vec<Shown>,
    /// The lists of the configuration, by where they come from.
    pub lists: Vec<List>,
    /// What they hold for.
    pub scope: Scope,
    /// Prefixes that are denied in the kernel.
    pub in_kernel: u64,
    /// Changes of the lists that wait to be written.
    pub waiting: u64,
    /// Prefixes that the kernel did not take.
    pub refused: u64,
}

/// A prefix that was denied here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The prefix.
    pub prefix: String,
    /// Since when.
    pub since: String,
    /// Until when; absent: for good.
    pub until: Option<String>,
    /// What whoever asked for it said.
    pub reason: Option<String>,
}

/// One source of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// `deny` or `allow`.
    pub list: String,
    /// The key of the configuration, or a file.
    pub from: String,
    /// How many stand there.
    pub prefixes: usize,
}

/// What a request asks of the lists, or the methods that its path takes; `None`: its path is another one.
pub fn asked(method: &Method, path: &str) -> Option<Result<Asked, &'static str>> {
    if path == "/v1/deny" {
        return Some(match *method {
            Method::GET => Ok(Asked::List),
            Method::POST => Ok(Asked::Add),
            _ => Err("GET, POST"),
        });
    }
    let prefix = path
        .strip_prefix("/v1/deny/")
        .filter(|prefix| !prefix.is_empty())?;
    Some(match *method {
        Method::DELETE => Ok(Asked::Remove(prefix.to_owned())),
        _ => Err("DELETE"),
    })
}

/// Reads `POST`.
///
/// # Errors
/// A sentence for the client.
pub fn add(query: Option<&str>, body: &[u8]) -> Result<Order, String> {
    let body: Body = serde_json::from_slice(body).map_err(|error| {
        format!("The body must be as {{ \"prefixes\": [\"198.51.100.0/24\"], \"for\": \"10m\" }}: {error}.")
    })?;
    if body.prefixes.is_empty() {
        return Err("prefixes is empty: name at least one.".to_owned());
    }
    let lasts = body.lasts.as_deref().map(lasts).transpose()?;
    if let Some(reason) = &body.reason
        && (reason.chars().count() > limits::REASON_CHARS_MAX || reason.chars().any(char::is_control))
    {
        let most = limits::REASON_CHARS_MAX;
        return Err(format!("reason must be one line of at most {most} characters."));
    }
    let mut prefixes = Vec::new();
    for text in &body.prefixes {
        let prefix = prefix(text)?;
        if !prefixes.contains(&prefix) {
            prefixes.push(prefix);
        }
    }
    Ok(Order {
        prefixes,
        wish: Wish::Deny {
            lasts,
            reason: body.reason.filter(|reason| !reason.is_empty()),
        },
        run: run(query)?,
    })
}

/// Reads `DELETE`.
///
/// # Errors
/// A sentence for the client.
pub fn remove(text: &str, query: Option<&str>) -> Result<Order, String> {
    Ok(Order {
        prefixes: vec![prefix(
            &text
                .replace("%2F", "/")
                .replace("%2f", "/")
                .replace("%3A", ":")
                .replace("%3a", ":"),
        )?],
        wish: Wish::Release,
        run: run(query)?,
    })
}

/// A network or an address.
///
/// # Errors
/// It is none.
pub fn prefix(text: &str) -> Result<Prefix, String> {
    validate::prefix(text).ok_or_else(|| {
        format!("\"{text}\" is neither a network nor an address, as in 198.51.100.0/24 or 2001:db8::1.")
    })
}

/// How long a prefix is to be denied.
///
/// # Errors
/// It is no length of time, or one of nothing, or too long.
pub fn lasts(text: &str) -> Result<Duration, String> {
    let bound = humantime::format_duration(limits::DENIED_FOR_MAX);
    match humantime::parse_duration(text) {
        Err(_) => Err(format!(
            "for must be a number and a unit, as in \"10m\", not \"{text}\"."
        )),
        Ok(lasts) if lasts < Duration::from_secs(1) || lasts > limits::DENIED_FOR_MAX => Err(format!(
            "for must be \"1s\" to \"{bound}\", or absent: for good; not \"{text}\"."
        )),
        Ok(lasts) => Ok(lasts),
    }
}

fn run(query: Option<&str>) -> Result<Run, String> {
    match query {
        None | Some("" | "dry_run=false") => Ok(Run::Real),
        Some("dry_run=true") => Ok(Run::Dry),
        Some(other) => Err(format!("The query may be dry_run=true, not \"{other}\".")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_methods_say_what_is_asked() {
        type Row<'r> = (Method, &'r str, Option<Result<Asked, &'static str>>);
        let rows: &[Row<'_>] = &[
            (Method::GET, "/v1/deny", Some(Ok(Asked::List))),
            (Method::POST, "/v1/deny", Some(Ok(Asked::Add))),
            (Method::PUT, "/v1/deny", Some(Err("GET, POST"))),
            (
                Method::DELETE,
                "/v1/deny/2001:db8::/32",
                Some(Ok(Asked::Remove("2001:db8::/32".to_owned()))),
            ),
            (Method::GET, "/v1/deny/10.0.0.0/8", Some(Err("DELETE"))),
            (Method::DELETE, "/v1/deny/", None),
            (Method::GET, "/v1/denyx", None),
        ];
        for (method, path, expected) in rows {
            assert_eq!(asked(method, path), *expected, "{method} {path}");
        }
    }

    #[test]
    fn orders_say_whom_and_for_how_long_or_are_refused_with_a_sentence() {
        type Row<'r> = (
            &'r str,
            Option<&'r str>,
            Result<(usize, Option<u64>, Run), &'r str>,
        );
        let rows: &[Row<'_>] = &[
            (r#"{"prefixes":["10.0.0.0/8"]}"#, None, Ok((1, None, Run::Real))),
            (
                r#"{"prefixes":["10.0.0.1","10.0.0.1/32","::/0"],"for":"10m","reason":"x"}"#,
                Some("dry_run=true"),
                Ok((2, Some(600), Run::Dry)),
            ),
            (r#"{"prefixes":[]}"#, None, Err("prefixes is empty")),
            (
                r#"{"prefixes":["x"]}"#,
                None,
                Err("\"x\" is neither a network nor an address"),
            ),
            (
                r#"{"prefixes":["10.0.0.0/8"],"for":"soon"}"#,
                None,
                Err("not \"soon\""),
            ),
            (
                r#"{"prefixes":["10.0.0.0/8"],"for":"1ms"}"#,
                None,
                Err("for must be \"1s\" to"),
            ),
            (
                r#"{"prefixes":["10.0.0.0/8"],"fro":"1m"}"#,
                None,
                Err("unknown field"),
            ),
            (
                r#"{"prefixes":["10.0.0.0/8"],"reason":"a\nb"}"#,
                None,
                Err("one line"),
            ),
            (
                r#"{"prefixes":["10.0.0.0/8"]}"#,
                Some("dry=1"),
                Err("The query may be"),
            ),
        ];
        for (body, query, expected) in rows {
            match (add(*query, body.as_bytes()), expected) {
                (Ok(order), Ok((count, seconds, run))) => {
                    let Wish::Deny { lasts, .. } = order.wish else {
                        panic!("{body}")
                    };
                    let seen = (
                        order.prefixes.len(),
                        lasts.map(|lasts| lasts.as_secs()),
                        order.run,
                    );
                    assert_eq!(seen, (*count, *seconds, *run), "{body}");
                }
                (Err(text), Err(wanted)) => assert!(text.contains(wanted), "{body}: {text}"),
                (seen, _) => panic!("{body}: {seen:?}"),
            }
        }
        assert_eq!(
            remove("2001:db8::%2F32", None).unwrap().prefixes[0].to_string(),
            "2001:db8::/32"
        );
        assert!(remove("x", None).is_err());
    }
}
