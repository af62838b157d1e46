//! `gateway routes`: which routes the running node has, and a change of one by the admin API.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use bytes::Bytes;
use clap::{Args, Subcommand, ValueHint};
use gateway::admin::routes::{Change, Changed, From, Routes as All, Shown};
use gateway::config::limits;
use http::header::{CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderName, Method};
use serde_json::Value;

use super::show::show;
use super::table::{Style, Table};
use super::{Connection, Form};

/// What is wanted of routes; without a word, the list.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Routes {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List all routes, and where each is set.
    List(Connection),
    /// Show what a route says.
    Show {
        /// The route's name.
        #[arg(value_parser = name)]
        name: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Set a route: add it, or change one that was set so. It stays through reloads and restarts.
    Set {
        /// The route's name.
        #[arg(value_parser = name)]
        name: String,
        /// What it says: the keys of a [[route]] table, in TOML, or in JSON where the name ends in .json; - for standard input.
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Read JSON, whatever the file is called.
        #[arg(long)]
        from_json: bool,
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        connection: Connection,
    },
    /// Delete a route that was set so.
    Delete {
        /// The route's name.
        #[arg(value_parser = name)]
        name: String,
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        connection: Connection,
    },
}

/// When a change is made.
#[derive(Debug, Args)]
struct How {
    /// Say what would come of it, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Only if the route still has that version, as `gateway routes show` names it.
    #[arg(long, value_name = "VERSION", conflicts_with = "new")]
    if_version: Option<String>,
    /// Only if there is no such route yet.
    #[arg(long)]
    new: bool,
}

/// Names become a path: what cannot be one is said here and not by the node, which would not understand it.
fn name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !text.is_empty() && text.chars().all(is_plain) {
        return Ok(text.to_owned());
    }
    Err("a name has letters, digits, '.', '_' and '-' alone".to_owned())
}

impl How {
    fn path(&self, name: &str) -> String {
        let query = if self.dry_run { "?dry_run=true" } else { "" };
        format!("/v1/routes/{name}{query}")
    }

    fn fields(&self) -> Vec<(HeaderName, String)> {
        let version = self
            .if_version
            .iter()
            .map(|version| (IF_MATCH, format!("\"{version}\"")));
        let new = self.new.then(|| (IF_NONE_MATCH, "*".to_owned()));
        version.chain(new).collect()
    }
}

/// `gateway routes`.
pub fn routes(asked: &Routes) -> anyhow::Result<()> {
    match &asked.what {
        None => list(&asked.connection),
        Some(What::List(connection)) => list(connection),
        Some(What::Show { name, connection }) => {
            let path = format!("/v1/routes/{name}");
            let (shown, value) = connection.client().ask::<Shown>(Method::GET, &path)?;
            show(connection.form(), &value, |_| shown_text(&shown))
        }
        Some(What::Set {
            name,
            file,
            from_json,
            how,
            connection,
        }) => {
            let is_json = *from_json || file.extension().is_some_and(|end| end == "json");
            let kind = if is_json {
                "application/json"
            } else {
                "application/toml"
            };
            let mut fields = how.fields();
            fields.push((CONTENT_TYPE, kind.to_owned()));
            let answer = connection
                .client()
                .send_with(Method::PUT, &how.path(name), read(file)?, &fields)?;
            changed(connection.form(), &answer)
        }
        Some(What::Delete {
            name,
            how,
            connection,
        }) => {
            let (client, path) = (connection.client(), how.path(name));
            let answer = client.send_with(Method::DELETE, &path, Bytes::new(), &how.fields())?;
            changed(connection.form(), &answer)
        }
    }
}

fn read(file: &Path) -> anyhow::Result<Bytes> {
    let mut bytes = Vec::new();
    let bound = limits::FILE_BYTES_MAX;
    let read = if file == Path::new("-") {
        std::io::stdin().take(bound).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|opened| opened.take(bound).read_to_end(&mut bytes))
    };
    read.with_context(|| {
        format!(
            "cannot read {}: name a file with the keys of a route",
            file.display()
        )
    })?;
    Ok(Bytes::from(bytes))
}

fn list(connection: &Connection) -> anyhow::Result<()> {
    let (all, value) = connection.client().ask::<All>(Method::GET, "/v1/routes")?;
    show(connection.form(), &value, |style| list_text(&all, style))
}

fn list_text(all: &All, style: Style) -> String {
    let mut table = Table::new(&["ROUTE", "LISTENERS", "MATCH", "DOES", "SET IN"]);
    for shown in &all.routes {
        let listeners = shown.route.get("listeners").and_then(Value::as_array);
        let listeners = listeners.into_iter().flatten().filter_map(Value::as_str);
        table.row([
            shown.name.as_str().into(),
            listeners.collect::<Vec<_>>().join(", ").into(),
            shown.route.get("match").map_or_else(String::new, brief).into(),
            does(&shown.route).into(),
            place(&shown.from).into(),
        ]);
    }
    table.text(style)
}

fn place(from: &From) -> String {
    match from {
        From::File { file, line } => format!("{}:{line}", file.display()),
        From::Api => "admin API".to_owned(),
    }
}

fn does(route: &Value) -> String {
    if let Some(upstream) = route.get("upstream").and_then(Value::as_str) {
        return format!("→ {upstream}");
    }
    let action = ["split", "redirect", "respond"].into_iter();
    let mut action = action.filter_map(|key| Some((key, route.get(key)?)));
    action
        .next()
        .map_or_else(String::new, |(key, value)| format!("{key} {}", brief(value)))
}

/// A value in one line, without the quotes of its keys.
fn brief(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let pairs = members
                .iter()
                .map(|(key, value)| format!("{key} = {}", brief(value)));
            pairs.collect::<Vec<_>>().join(", ")
        }
        Value::Array(items) => format!("[{}]", items.iter().map(brief).collect::<Vec<_>>().join(", ")),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn shown_text(shown: &Shown) -> String {
    format!(
        "{}, version {}\n{:#}\n",
        place(&shown.from),
        shown.version,
        shown.route
    )
}

fn changed(form: Form, (changed, value): &(Changed, Value)) -> anyhow::Result<()> {
    show(form, value, |_| changed_text(changed))
}

fn changed_text(changed: &Changed) -> String {
    let version = changed
        .version
        .as_ref()
        .map(|version| format!(", version {version}"));
    let version = version.unwrap_or_default();
    let (name, word) = (&changed.name, changed.change.word());
    match (changed.dry_run, changed.change) {
        (true, Change::Unchanged) => format!("route {name} would be unchanged{version}\n"),
        (true, _) => format!("route {name} would be {word}{version}; nothing was changed\n"),
        (false, _) => format!(
            "route {name} is {word}{version}: snapshot {} is in force\n",
            changed.snapshot
        ),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        asked: Routes,
    }

    #[test]
    fn orders_are_read_or_are_wrong_usage() {
        let read = |given: &str| Line::try_parse_from(given.split(' ')).ok();
        let accepted = [
            "routes",
            "routes --json",
            "routes list --json",
            "routes show a",
            "routes set a f.toml --dry-run --if-version 12",
            "routes set a - --from-json --new",
            "routes delete a.b_c-1",
        ];
        for line in accepted {
            assert!(read(line).is_some(), "{line}");
        }
        for line in [
            "routes set a",
            "routes show",
            "routes delete a/b",
            "routes set a f --new --if-version 1",
        ] {
            assert!(read(line).is_none(), "{line}");
        }
        let line = read("routes set a f.toml --dry-run --if-version 12").unwrap();
        let Some(What::Set { name, how, .. }) = line.asked.what else {
            panic!()
        };
        assert_eq!(how.path(&name), "/v1/routes/a?dry_run=true");
        assert_eq!(how.fields(), [(IF_MATCH, "\"12\"".to_owned())]);
    }

    #[test]
    fn routes_are_listed_with_what_they_do_and_where_they_are_set() {
        let shown = |name: &str, from: From, route: Value| Shown {
            name: name.to_owned(),
            from,
            version: "1".to_owned(),
            route,
        };
        let file = From::File {
            file: "/etc/g.toml".into(),
            line: 7,
        };
        let all = All {
            routes: vec![
                shown(
                    "a",
                    file,
                    json!({ "listeners": ["web", "tls"], "match": { "hosts": ["a", "b"], "path": "/x" }, "upstream": "u" }),
                ),
                shown(
                    "b",
                    From::Api,
                    json!({ "listeners": ["web"], "match": { "path_prefix": "/" }, "respond": { "status": 503 } }),
                ),
            ],
        };
        let text = list_text(&all, Style::Plain);
        let words: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            words[1].join(" "),
            "a web, tls hosts = [a, b], path = /x → u /etc/g.toml:7"
        );
        assert_eq!(
            words[2].join(" "),
            "b web path_prefix = / respond status = 503 admin API"
        );
    }

    #[test]
    fn changes_are_told_with_what_was_not_done() {
        let changed = |change, version: Option<&str>, dry_run| Changed {
            name: "a".to_owned(),
            change,
            version: version.map(str::to_owned),
            snapshot: 3,
            dry_run,
        };
        let rows = [
            (
                changed(Change::Added, Some("1"), false),
                "route a is added, version 1: snapshot 3 is in force\n",
            ),
            (
                changed(Change::Deleted, None, false),
                "route a is deleted: snapshot 3 is in force\n",
            ),
            (
                changed(Change::Changed, Some("1"), true),
                "route a would be changed, version 1; nothing was changed\n",
            ),
            (
                changed(Change::Unchanged, Some("1"), true),
                "route a would be unchanged, version 1\n",
            ),
        ];
        for (changed, expected) in rows {
            assert_eq!(changed_text(&changed), expected);
        }
    }
}
