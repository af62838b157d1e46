//! `/v1/routes` and `/v1/routes/{name}`: what routes there are, and a change of one of them.

use std::path::PathBuf;

use http::header::{CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderName, Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::document::Format;

/// What can be asked of routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `GET /v1/routes`.
    All,
    /// `GET`.
    One(String),
    /// `PUT`.
    Set(String),
    /// `DELETE`.
    Delete(String),
}

/// The answer to `GET /v1/routes`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Routes {
    /// In the order in which equal ones go.
    pub routes: Vec<Shown>,
}

/// A route, as it was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// Its name.
    pub name: String,
    /// Who set it.
    pub from: From,
    /// The same as long as it says the same.
    pub version: String,
    /// What it says: the keys of `[[route]]`.
    pub route: Value,
}

/// Who set a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum From {
    /// The configuration: its file, and the line there.
    File {
        /// Its path.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// The admin API.
    Api,
}

/// A change that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Of the route of that name.
    pub name: String,
    /// What it is to say; `None`: it is to go.
    pub says: Option<(String, Format)>,
    /// What it must be now.
    pub only_if: OnlyIf,
    /// Whether it is done.
    pub run: Run,
}

/// What a route must be for a change to be made: `If-Match`, `If-None-Match`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OnlyIf {
    /// Anything.
    #[default]
    Always,
    /// There is none: `If-None-Match: *`.
    Absent,
    /// There is one: `If-Match: *`.
    Present,
    /// It has one of these versions.
    Version(Vec<String>),
}

/// `dry_run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// It is done.
    Real,
    /// It is only said what would come of it.
    Dry,
}

/// The answer to a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The route's name.
    pub name: String,
    /// What became of it.
    pub change: Change,
    /// What it has now; `None`: it is gone.
    pub version: Option<String>,
    /// Number of the snapshot that is in force.
    pub snapshot: u64,
    /// Whether nothing of that was done.
    pub dry_run: bool,
}

/// What became of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// There was none of that name.
    Added,
    /// It says something else now.
    Changed,
    /// It said so already.
    Unchanged,
    /// It is gone.
    Deleted,
}

impl Change {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
        }
    }
}

/// What a request asks of routes, or the methods that its path takes; `None`: its path is another one.
pub fn asked(method: &Method, path: &str) -> Option<Result<Asked, &'static str>> {
    let rest = path.strip_prefix("/v1/routes")?;
    let name = match rest.strip_prefix('/') {
        None if rest.is_empty() => {
            return Some(match *method {
                Method::GET => Ok(Asked::All),
                _ => Err("GET"),
            });
        }
        // Names have no characters that would be escaped.
        Some(name) if !name.is_empty() && !name.contains('/') => name.to_owned(),
        _ => return None,
    };
    Some(match *method {
        Method::GET => Ok(Asked::One(name)),
        Method::PUT => Ok(Asked::Set(name)),
        Method::DELETE => Ok(Asked::Delete(name)),
        _ => Err("GET, PUT, DELETE"),
    })
}

/// Why a request for a change is none: the status, and a sentence for the client.
pub type Misput = (StatusCode, String);

/// Reads `PUT`.
///
/// # Errors
/// Its head cannot be understood, or its body is no text.
pub fn set(name: String, head: &Parts, body: &[u8]) -> Result<Order, Misput> {
    let format = format(head)?;
    let text = std::str::from_utf8(body).map_err(|_| bad("The body is not UTF-8."))?;
    order(name, head, Some((text.to_owned(), format)))
}

/// Reads `DELETE`.
///
/// # Errors
/// Its head cannot be understood.
pub fn delete(name: String, head: &Parts) -> Result<Order, Misput> {
    order(name, head, None)
}

fn order(name: String, head: &Parts, says: Option<(String, Format)>) -> Result<Order, Misput> {
    Ok(Order {
        name,
        says,
        only_if: only_if(head)?,
        run: run(head.uri.query())?,
    })
}

/// JSON, where nothing is said, as everywhere in this API.
fn format(head: &Parts) -> Result<Format, Misput> {
    let Some(value) = head.headers.get(CONTENT_TYPE) else {
        return Ok(Format::Json);
    };
    let text = value.to_str().unwrap_or_default();
    let essence = text
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => Ok(Format::Json),
        "application/toml" => Ok(Format::Toml),
        _ => {
            let sentence = format!(
                "A route is taken as application/json or application/toml, not as \"{text}\": set Content-Type."
            );
            Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, sentence))
        }
    }
}

fn run(query: Option<&str>) -> Result<Run, Misput> {
    match query {
        None | Some("" | "dry_run=false") => Ok(Run::Real),
        Some("dry_run=true") => Ok(Run::Dry),
        Some(other) => Err(bad(&format!("The query may be dry_run=true, not \"{other}\"."))),
    }
}

fn only_if(head: &Parts) -> Result<OnlyIf, Misput> {
    let tags = |name: HeaderName| -> Result<Option<Vec<String>>, Misput> {
        let lines: Vec<&str> = head
            .headers
            .get_all(&name)
            .iter()
            .map(|v| v.to_str().unwrap_or_default())
            .collect();
        if lines.is_empty() {
            return Ok(None);
        }
        let tags = lines.iter().flat_map(|line| line.split(',')).map(|tag| {
            let tag = tag.trim();
            let plain = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
            match plain {
                _ if tag == "*" => Ok(tag.to_owned()),
                Some(plain) if !plain.contains('"') => Ok(plain.to_owned()),
                _ => Err(bad(&format!(
                    "{name} must be * or versions in quotes, not {tag}."
                ))),
            }
        });
        tags.collect::<Result<Vec<_>, _>>().map(Some)
    };
    match (tags(IF_MATCH)?, tags(IF_NONE_MATCH)?) {
        (None, None) => Ok(OnlyIf::Always),
        (Some(tags), None) if tags == ["*"] => Ok(OnlyIf::Present),
        (Some(tags), None) => Ok(OnlyIf::Version(tags)),
        (None, Some(tags)) if tags == ["*"] => Ok(OnlyIf::Absent),
        (None, Some(_)) => Err(bad("If-None-Match may be * alone.")),
        (Some(_), Some(_)) => Err(bad("Send one of If-Match and If-None-Match.")),
    }
}

fn bad(sentence: &str) -> Misput {
    (StatusCode::BAD_REQUEST, sentence.to_owned())
}

impl OnlyIf {
    /// Whether it holds for a route of that version; `None`: there is none.
    pub fn holds(&self, version: Option<&str>) -> bool {
        match self {
            Self::Always => true,
            Self::Absent => version.is_none(),
            Self::Present => version.is_some(),
            Self::Version(wanted) => version.is_some_and(|version| wanted.iter().any(|one| one == version)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_methods_say_what_is_asked() {
        let name = || "a.b_c-1".to_owned();
        type Row<'r> = (Method, &'r str, Option<Result<Asked, &'static str>>);
        let rows: &[Row<'_>] = &[
            (Method::GET, "/v1/routes", Some(Ok(Asked::All))),
            (Method::POST, "/v1/routes", Some(Err("GET"))),
            (Method::GET, "/v1/routes/a.b_c-1", Some(Ok(Asked::One(name())))),
            (Method::PUT, "/v1/routes/a.b_c-1", Some(Ok(Asked::Set(name())))),
            (
                Method::DELETE,
                "/v1/routes/a.b_c-1",
                Some(Ok(Asked::Delete(name()))),
            ),
            (Method::POST, "/v1/routes/a.b_c-1", Some(Err("GET, PUT, DELETE"))),
            (Method::GET, "/v1/routes/", None),
            (Method::GET, "/v1/routes/a/b", None),
            (Method::GET, "/v1/routesx", None),
        ];
        for (method, path, expected) in rows {
            assert_eq!(asked(method, path), *expected, "{method} {path}");
        }
    }

    #[test]
    fn heads_say_how_and_when_a_route_is_changed_or_are_refused() {
        let read = |fields: &[(&str, &str)], query: &str| {
            let mut request = http::Request::put(format!("/v1/routes/a{query}"));
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            set("a".to_owned(), &request.body(()).unwrap().into_parts().0, b"{}")
        };
        let order = read(&[], "").unwrap();
        assert_eq!((order.only_if, order.run), (OnlyIf::Always, Run::Real));
        assert_eq!(order.says.unwrap().1, Format::Json);
        let toml = read(
            &[("content-type", "application/TOML; charset=utf-8")],
            "?dry_run=true",
        )
        .unwrap();
        assert_eq!((toml.says.unwrap().1, toml.run), (Format::Toml, Run::Dry));
        let rows = [
            ("if-match", "\"x\"", Some(OnlyIf::Version(vec!["x".to_owned()]))),
            (
                "if-match",
                "\"x\", \"y\"",
                Some(OnlyIf::Version(vec!["x".to_owned(), "y".to_owned()])),
            ),
            ("if-match", "*", Some(OnlyIf::Present)),
            ("if-none-match", "*", Some(OnlyIf::Absent)),
            ("if-none-match", "\"x\"", None),
            ("if-match", "x", None),
            ("if-match", "W/\"x\"", None),
        ];
        for (name, value, expected) in rows {
            assert_eq!(
                read(&[(name, value)], "").ok().map(|order| order.only_if),
                expected,
                "{name}: {value}"
            );
        }
        let refused = |fields: &[(&str, &str)], query: &str| read(fields, query).unwrap_err().0;
        assert_eq!(
            refused(&[("content-type", "text/yaml")], ""),
            StatusCode::UNSUPPORTED_MEDIA_TYPE
        );
        assert_eq!(
            refused(&[("if-match", "*"), ("if-none-match", "*")], ""),
            StatusCode::BAD_REQUEST
        );
        assert_eq!(refused(&[], "?dryrun=1"), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn conditions_hold_for_what_they_name() {
        let version = OnlyIf::Version(vec!["x".to_owned()]);
        let rows = [
            (OnlyIf::Always, [true, true, true]),
            (OnlyIf::Absent, [true, false, false]),
            (OnlyIf::Present, [false, true, true]),
            (version, [false, true, false]),
        ];
        for (only_if, expected) in rows {
            assert_eq!(
                [None, Some("x"), Some("y")].map(|version| only_if.holds(version)),
                expected,
                "{only_if:?}"
            );
        }
    }
}
