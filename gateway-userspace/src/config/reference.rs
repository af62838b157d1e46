//! The reference of all keys as Markdown, made from the schema, so that it cannot say anything else than the checks do.

use serde_json::Value;

use super::schema::{as_written, choices, is_inherited, schema};

/// What stands before the tables.
const HEAD: &str = r#"# Configuration

One TOML file, given to `gateway run --config FILE`. `gateway check FILE` says what it would run, or everything that is
wrong with it, and exits with 64 in that case. `gateway schema` prints the JSON schema for editors. The two files in
`examples/` are a start: `quickstart.toml` needs no root, `three-nodes.toml` is one node of a real installation.

- Unknown keys are errors. Every problem is reported at once, with its line and what to write instead.
- A refused configuration changes nothing: a running node goes on with the one it has, and `gateway status` shows the
  refusal.
- Lengths of time are a number and a unit in quotes: `"500ms"`, `"15s"`, `"2m"`; where it says so, `"none"` is no limit.
- What holds for a request is said by its route, else by the listener that it came by, else by `[defaults]`. A route that
  serves two listeners gets from each what it does not say itself.
- Addresses are literal: `"10.0.1.1:8080"`, `"[2001:db8::1]:8080"`; those of endpoints may be names:
  `"users.internal:8080"`.
- Names of nodes, VIPs, listeners, routes and upstreams have 1 to 63 letters, digits, `.`, `_` and `-`.
- Secrets stand in files of their own, named by `*_file` keys. Relative paths start at the configuration file's
  directory.
- Routes may be set by the admin API, too (`gateway routes set`); they are kept in `admin.routes_file` and judged together
  with the file's: [routing.md](routing.md).
- `gateway reload` takes over a changed file while the node runs. Changes in `[admin]`, `[dataplane]`, `[cluster]`, and in
  `[node]` but for `weight`, `node_header` and `connections_per_client_max`, want a restart.

Keys without a default and not marked as required are left out where they are not wanted.

<!-- All below is made from the schema: GATEWAY_BLESS=1 cargo test -p gateway-userspace reference_is_up_to_date -->
"#;

/// The content of `docs/configuration.md`.
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    section(&mut text, &[], schema());
    text
}

/// The tables below a table, each with its keys.
fn section(text: &mut String, names: &[&str], schema: &Value) {
    for (key, schema) in properties(schema) {
        let table = if is_table_list(schema) {
            schema.get("items").unwrap_or(schema)
        } else {
            schema
        };
        // What is described elsewhere is not described again.
        if table.get("properties").is_none() || schema.get("x-as").is_some() {
            continue;
        }
        let path = [names, &[key]].concat();
        let name = path.join(".");
        let title = match (is_table_list(schema), names) {
            (true, []) => format!("[[{name}]]"),
            (true, _) => format!("{name} = [ {{ … }} ]"),
            (false, _) => format!("[{name}]"),
        };
        let required = required(schema_keys(names).unwrap_or(schema), key);
        text.push_str(&format!(
            "\n## `{title}`\n\n{}{required}\n\n",
            description(schema)
        ));
        keys(text, table);
        section(text, &path, table);
    }
}

/// The schema of the table with those names.
fn schema_keys(names: &[&str]) -> Option<&'static Value> {
    names.iter().try_fold(schema(), |schema, name| {
        let schema = schema.get("properties")?.get(name)?;
        Some(schema.get("items").unwrap_or(schema))
    })
}

fn keys(text: &mut String, table: &Value) {
    text.push_str("| key | value | default | meaning |\n|---|---|---|---|\n");
    for (key, schema) in properties(table).filter(|(_, schema)| !is_inherited(schema)) {
        let default = match schema.get("default") {
            Some(default) => format!("`{default}`"),
            None if is_required(table, key) => "required".to_owned(),
            None => String::new(),
        };
        let meanings: Vec<String> = choices(schema)
            .iter()
            .filter(|(_, meaning)| !meaning.is_empty())
            .map(|(value, meaning)| format!(" `\"{value}\"`: {meaning}"))
            .collect();
        let meaning = format!("{}{}", description(schema), meanings.concat());
        text.push_str(&format!(
            "| `{key}` | {} | {default} | {meaning} |\n",
            kind(schema)
        ));
    }
    let inherited: Vec<String> = properties(table)
        .filter(|(_, schema)| is_inherited(schema))
        .map(|(key, _)| format!("`{key}`"))
        .collect();
    if !inherited.is_empty() {
        text.push_str(&format!(
            "\nAlso, with values and meanings as in `[defaults]`, which holds where they are absent: {}.\n",
            inherited.join(", ")
        ));
    }
}

/// What may be written, with its bounds or an example.
fn kind(schema: &Value) -> String {
    let known = choices(schema);
    if !known.is_empty() {
        return known
            .iter()
            .map(|(value, _)| format!("`\"{value}\"`"))
            .collect::<Vec<_>>()
            .join(", ");
    }
    let of = |key: &str| schema.get(key).and_then(Value::as_str).unwrap_or_default();
    let kind = match (of("type"), of("format")) {
        ("string", "time-span") => match (schema.pointer("/x-range/0"), schema.pointer("/x-range/1")) {
            (Some(least), Some(most)) => {
                let none = if schema.get("x-none").is_some() {
                    ", or `\"none\"`"
                } else {
                    ""
                };
                format!("time, `{least}` to `{most}`{none}")
            }
            _ => "time".to_owned(),
        },
        ("string", "socket-address") => "address and port".to_owned(),
        ("string", "place") => "address or name, and port".to_owned(),
        ("string", "ipv4") => "IPv4 address".to_owned(),
        ("string", "ipv6") => "IPv6 address".to_owned(),
        ("string", "ip") => "IP address".to_owned(),
        ("string", "network") => "network or address".to_owned(),
        ("string", _) => "text".to_owned(),
        ("boolean", _) => "`true`, `false`".to_owned(),
        ("integer", _) => match (schema.get("minimum"), schema.get("maximum")) {
            (Some(min), Some(max)) => format!("{min} to {max}"),
            _ => "whole number".to_owned(),
        },
        ("number", _) => match (schema.get("minimum"), schema.get("maximum")) {
            (Some(min), Some(max)) => format!("{min} to {max}"),
            _ => "number".to_owned(),
        },
        ("array", _) => match schema.get("maxItems") {
            Some(max) => format!("list, at most {max}"),
            None => "list".to_owned(),
        },
        _ if schema.get("properties").is_none() => "table of text".to_owned(),
        _ => "table, see below".to_owned(),
    };
    match schema.pointer("/examples/0") {
        Some(example @ Value::Object(_)) => format!("{kind}, as in `{}`", as_written(example)),
        Some(example) => format!("{kind}, as in `{}`", example.to_string().replace(',', ", ")),
        None => kind,
    }
}

fn properties(schema: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties
        .into_iter()
        .flatten()
        .map(|(key, schema)| (key.as_str(), schema))
}

fn is_table_list(schema: &Value) -> bool {
    schema.pointer("/items/properties").is_some()
}

fn is_required(table: &Value, key: &str) -> bool {
    table
        .get("required")
        .and_then(Value::as_array)
        .is_some_and(|keys| keys.iter().any(|required| required == key))
}

fn required(table: &Value, key: &str) -> &'static str {
    if is_required(table, key) { " Required." } else { "" }
}

fn description(schema: &Value) -> String {
    let text = schema
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default();
    // A bar would end the cell of a table.
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");

    #[test]
    fn reference_is_up_to_date() {
        if std::env::var_os("GATEWAY_BLESS").is_some() {
            std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs")).unwrap();
            std::fs::write(FILE, reference()).unwrap();
        }
        let written = std::fs::read_to_string(FILE).unwrap_or_default();
        let remedy = "write it anew: GATEWAY_BLESS=1 cargo test -p gateway-userspace reference_is_up_to_date";
        assert!(
            written == reference(),
            "docs/configuration.md is not what the schema says; {remedy}"
        );
    }
}
