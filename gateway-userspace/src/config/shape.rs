//! Does a file have the shape of a configuration: known keys, required keys, types, and bounds of numbers and lists?
//!
//! What is wrong is reported and taken out, so that the rest can still be read and checked. The schema says what is
//! right; serde finds values of a wrong type.

use serde_json::{Map, Number, Value};
use serde_path_to_error::Segment;

use super::given::Given;
use super::limits;
use super::path::{KeyPath, Step};
use super::problem::{Problems, UNKNOWN_KEY, listed, nearest};
use super::schema::{as_written, choices, schema, schema_at};

/// Reads the values of a file; what is wrong with them stands in `problems` afterwards.
///
/// `None` where so much is wrong that looking further is of no use.
pub fn read(mut value: Value, problems: &mut Problems<'_>) -> Option<Given> {
    check(&KeyPath::default(), schema(), &mut value, problems);
    decoded(value, problems)
}

/// Reads values of which there are `[[route]]` tables alone, as the admin API sets them.
///
/// `None` as of [`read`].
pub fn read_routes(mut value: Value, problems: &mut Problems<'_>) -> Option<Given> {
    let list = KeyPath::top("route");
    let others = value.as_object().into_iter().flat_map(Map::keys);
    let others: Vec<String> = others.filter(|key| *key != "route").cloned().collect();
    for key in others {
        problems.add(&KeyPath::top(&key), UNKNOWN_KEY, "known here: route");
        value.as_object_mut()?.remove(&key);
    }
    if let (Some(schema), Some(routes)) = (schema_at(&list), value.get_mut("route")) {
        check(&list, schema, routes, problems);
    }
    decoded(value, problems)
}

/// Finds values of a wrong type, and takes them out.
fn decoded(mut value: Value, problems: &mut Problems<'_>) -> Option<Given> {
    for _ in 0..limits::PROBLEMS_MAX {
        let error = match serde_path_to_error::deserialize::<_, Given>(&value) {
            Ok(given) => return Some(given),
            Err(error) => error,
        };
        let (path, schema) = known_place(error.path())?;
        let (fault, remedy) = explained(&path, schema, lookup(&value, &path), problems);
        problems.add(&path, fault, remedy);
        take_out(&mut value, &path, schema)?;
    }
    None
}

/// Unknown keys, missing keys, and bounds. Takes out what is wrong.
fn check(path: &KeyPath, schema: &Value, value: &mut Value, problems: &mut Problems<'_>) {
    match value {
        // Serde would take a list for a table, its entries for the keys in their order.
        Value::Array(_) if schema.get("properties").is_some() => {
            let (fault, remedy) = explained(path, schema, Some(value), problems);
            problems.add(path, fault, remedy);
            *value = placeholder(schema);
        }
        Value::Object(members) => check_table(path, schema, members, problems),
        Value::Array(items) => check_list(path, schema, items, problems),
        Value::Number(number) if !is_in_range(number, schema) => {
            problems.add(path, format!("{number} is out of range"), expectation(schema));
            *value = placeholder(schema);
        }
        Value::String(text) => {
            if let Some(remedy) = time_out_of_range(text, schema) {
                problems.add(path, format!("\"{text}\" is out of range"), remedy);
                *value = placeholder(schema);
            }
        }
        _ => {}
    }
}

/// What to write instead of a length of time that is shorter or longer than its schema says.
fn time_out_of_range(text: &str, schema: &Value) -> Option<String> {
    let bound = |index: usize| schema.get("x-range")?.get(index)?.as_str();
    let (least, most) = (bound(0)?, bound(1)?);
    let time = |text: &str| humantime::parse_duration(text).ok();
    let given = time(text)?;
    let is_within = time(least)? <= given && given <= time(most)?;
    (!is_within).then(|| format!("write \"{least}\" to \"{most}\"{}", or_none(schema)))
}

/// What may stand in place of a length of time, if anything may.
fn or_none(schema: &Value) -> &'static str {
    match schema.get("x-none") {
        Some(_) => ", or \"none\"",
        None => "",
    }
}

fn check_table(
    path: &KeyPath,
    schema: &Value,
    members: &mut Map<String, Value>,
    problems: &mut Problems<'_>,
) {
    let Some(known) = schema.get("properties").and_then(Value::as_object) else {
        return;
    };
    let unknown: Vec<String> = members
        .keys()
        .filter(|key| !known.contains_key(*key))
        .cloned()
        .collect();
    let mut meant: Vec<&str> = Vec::new();
    for key in unknown {
        let names = || known.keys().map(String::as_str);
        let remedy = match nearest(&key, names()) {
            Some(near) => {
                meant.push(near);
                format!("did you mean {near}?")
            }
            None => format!("known here: {}", listed(names())),
        };
        problems.add(&path.key(&key), UNKNOWN_KEY, remedy);
        members.remove(&key);
    }
    let required = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    for key in required.filter_map(Value::as_str) {
        // One that is there under a wrong name is not missing as well.
        if !members.contains_key(key) && !meant.contains(&key) {
            let remedy = known
                .get(key)
                .map_or_else(String::new, |schema| addition(key, schema));
            problems.add(&path.key(key), "is missing", remedy);
        }
    }
    for (key, schema) in known {
        if let Some(value) = members.get_mut(key) {
            check(&path.key(key), schema, value, problems);
        }
    }
}

fn check_list(path: &KeyPath, schema: &Value, items: &mut Vec<Value>, problems: &mut Problems<'_>) {
    let bound = |key: &str| {
        schema
            .get(key)
            .and_then(Value::as_u64)
            .and_then(|bound| usize::try_from(bound).ok())
    };
    if bound("minItems").is_some_and(|min| items.len() < min) {
        problems.add(path, "the list is empty", expectation(schema));
    }
    if let Some(max) = bound("maxItems").filter(|max| items.len() > *max) {
        problems.add(
            path,
            format!("{} entries are too many", items.len()),
            format!("list at most {max}"),
        );
        items.truncate(max);
    }
    let Some(schema) = schema.get("items") else { return };
    for (index, item) in items.iter_mut().enumerate() {
        check(&path.index(index), schema, item, problems);
    }
}

/// Whether a number keeps the bounds of its schema; what is no whole number, where one is wanted, is left to serde.
fn is_in_range(number: &Number, schema: &Value) -> bool {
    if schema.get("type").and_then(Value::as_str) == Some("number") {
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
        let number = number.as_f64().unwrap_or(f64::NAN);
        // Of what is no number, as TOML's nan, neither holds.
        return bound("minimum").is_none_or(|min| number >= min)
            && bound("maximum").is_none_or(|max| number <= max);
    }
    let Some(number) = number.as_i128() else {
        return true;
    };
    let bound = |key: &str| {
        schema
            .get(key)
            .and_then(Value::as_number)
            .and_then(Number::as_i128)
    };
    bound("minimum").is_none_or(|min| number >= min) && bound("maximum").is_none_or(|max| number <= max)
}

/// What is wrong with a value whose type does not fit, and what to write instead.
fn explained(
    path: &KeyPath,
    schema: &Value,
    value: Option<&Value>,
    problems: &Problems<'_>,
) -> (String, String) {
    let seen = problems.document().seen(path);
    let kind = schema.get("type").and_then(Value::as_str).unwrap_or_default();
    let name = path.steps().iter().rev().find_map(|step| match step {
        Step::Key(key) => Some(key.as_str()),
        Step::Index(_) => None,
    });
    match (kind, value, name) {
        ("array", Some(Value::Object(_)), Some(name)) if schema.pointer("/items/properties").is_some() => {
            return (
                "is one table, not a list of tables".to_owned(),
                format!("write [[{name}]], with two brackets"),
            );
        }
        ("object", Some(Value::Array(_)), Some(name)) => {
            return (
                "is a list of tables, not one table".to_owned(),
                format!("write [{name}], with one bracket"),
            );
        }
        _ => {}
    }
    let known = choices(schema);
    if !known.is_empty() {
        let meant = value
            .and_then(Value::as_str)
            .and_then(|text| nearest(text, known.iter().map(|(name, _)| *name)));
        let suggestion = meant
            .map(|meant| format!("did you mean \"{meant}\"? "))
            .unwrap_or_default();
        return (
            format!("{seen} is not known here"),
            suggestion + &expectation(schema),
        );
    }
    let wanted = match (kind, schema.get("format").and_then(Value::as_str)) {
        ("string", Some("time-span")) => "a length of time",
        ("string", Some("socket-address")) => "an IP address with a port",
        ("string", Some("place")) => "an IP address or a host name with a port",
        ("string", Some("ipv4")) => "an IPv4 address",
        ("string", Some("ipv6")) => "an IPv6 address",
        ("string", Some("ip")) => "an IP address",
        ("string", Some("network")) => "a network or an IP address",
        ("string", _) => "text",
        ("integer", _) => "a whole number",
        ("number", _) => "a number",
        ("boolean", _) => "true or false",
        ("array", _) => "a list",
        _ => "a table",
    };
    (format!("{seen} is not {wanted}"), expectation(schema))
}

/// What to write where a value of that schema is wanted.
fn expectation(schema: &Value) -> String {
    let known = choices(schema);
    if !known.is_empty() {
        let quoted: Vec<String> = known.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        return format!("write {}", quoted.join(" or "));
    }
    let example = schema
        .pointer("/examples/0")
        .map(|example| format!(", as in {example}"))
        .unwrap_or_default();
    match (
        schema.get("type").and_then(Value::as_str),
        schema.get("format").and_then(Value::as_str),
    ) {
        (_, Some("time-span")) => {
            let forms = "write a number and a unit in quotes, as in \"15s\" or \"500ms\"";
            format!("{forms}{}", or_none(schema))
        }
        (_, Some("socket-address")) => {
            "write it as in \"10.0.1.1:8080\" or \"[2001:db8::1]:8080\"; host names are not taken".to_owned()
        }
        (_, Some("place")) => {
            "write it as in \"10.0.1.1:8080\", \"[2001:db8::1]:8080\" or \"users.internal:8080\"".to_owned()
        }
        (_, Some("ipv4")) => "write it as in \"10.0.0.11\"".to_owned(),
        (_, Some("ipv6")) => "write it as in \"2001:db8::11\"".to_owned(),
        (_, Some("network")) => "write it as in \"10.0.0.0/8\" or \"2001:db8::1\"".to_owned(),
        (_, Some("ip")) => "write it as in \"203.0.113.10\" or \"2001:db8::10\"".to_owned(),
        (Some("integer"), _) => match (schema.get("minimum"), schema.get("maximum")) {
            (Some(min), Some(max)) => format!("write a whole number from {min} to {max}"),
            _ => "write a whole number".to_owned(),
        },
        (Some("number"), _) => match (schema.get("minimum"), schema.get("maximum")) {
            (Some(min), Some(max)) => format!("write a number from {min} to {max}"),
            _ => "write a number".to_owned(),
        },
        (Some("boolean"), _) => "write true or false, without quotes".to_owned(),
        (Some("string"), _) => format!("write text in quotes{example}"),
        (Some("array"), _) if schema.get("minItems").is_none() => {
            format!("write a list in brackets{example}")
        }
        (Some("array"), _) => format!("write a list in brackets with at least one entry{example}"),
        _ => "write a table with keys and values".to_owned(),
    }
}

/// How to add a key that is missing.
fn addition(key: &str, schema: &Value) -> String {
    match (
        schema.get("type").and_then(Value::as_str),
        schema.pointer("/examples/0"),
    ) {
        (Some("object"), Some(example)) => format!("add {key} = {}", as_written(example)),
        (Some("object"), _) if key == "match" => {
            "add match = { path_prefix = \"/\" }, or a narrower one".to_owned()
        }
        (Some("object"), _) => format!("add a table [{key}]"),
        (Some("array"), None) => format!("add {key} = [ … ] with at least one entry"),
        (_, Some(example)) => format!("add {key}, as in {key} = {example}"),
        (_, None) => format!("add {key}: {}", expectation(schema)),
    }
}

/// Where serde met a value that it cannot read, or the nearest place above that the schema knows.
fn known_place(path: &serde_path_to_error::Path) -> Option<(KeyPath, &'static Value)> {
    let steps = path.iter().map_while(|segment| match segment {
        Segment::Seq { index } => Some(Step::Index(*index)),
        Segment::Map { key } => Some(Step::Key(key.clone())),
        Segment::Enum { .. } | Segment::Unknown => None,
    });
    let mut path = steps.fold(KeyPath::default(), |path, step| path.step(step));
    loop {
        if let Some(schema) = schema_at(&path) {
            return Some((path, schema));
        }
        path = path.split_last()?.0;
    }
}

fn lookup<'v>(value: &'v Value, path: &KeyPath) -> Option<&'v Value> {
    path.steps().iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(index) => value.get(index),
    })
}

/// Takes a value out of a table; in a list something harmless takes its place, so that the others keep theirs.
fn take_out(value: &mut Value, path: &KeyPath, schema: &Value) -> Option<()> {
    let (parent, last) = path.split_last()?;
    let parent = parent.steps().iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Index(index) => value.get_mut(index),
    })?;
    match last {
        Step::Key(key) => parent.as_object_mut()?.remove(key).map(drop),
        Step::Index(index) => {
            *parent.get_mut(index)? = placeholder(schema);
            Some(())
        }
    }
}

/// A value of the right type, for a place whose value is known to be wrong.
fn placeholder(schema: &Value) -> Value {
    match (
        schema.get("type").and_then(Value::as_str),
        schema.get("format").and_then(Value::as_str),
    ) {
        (Some("object"), _) => Value::Object(Map::new()),
        (Some("array"), _) => Value::Array(Vec::new()),
        (Some("integer" | "number"), _) => schema.get("minimum").cloned().unwrap_or_else(|| Value::from(0)),
        (Some("boolean"), _) => Value::Bool(false),
        (_, Some("socket-address" | "place")) => Value::from("0.0.0.0:0"),
        (_, Some("time-span")) => Value::from("1s"),
        (_, Some("network")) => Value::from("127.0.0.1"),
        _ => Value::from(choices(schema).first().map_or("", |(name, _)| *name)),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::problem::Refused;
    use std::path::Path;

    use super::super::document::Document;
    use super::*;

    fn check_text(text: &str, wanted: &[&str]) {
        let (document, value, _) = Document::parse(Path::new("t.toml"), text).unwrap();
        let mut problems = Problems::new(&document);
        read(value, &mut problems);
        Refused::expect(problems.into_result(), text, wanted);
    }

    #[test]
    fn what_does_not_have_the_right_shape_is_named_with_its_line_and_a_remedy() {
        check_text("[node]\nname = \"a\"\n", &[]);
        check_text("", &["t.toml:1: node: is missing; add a table [node]"]);
        check_text("[nod]\n", &["t.toml:1: nod: unknown key; did you mean node?"]);
        check_text(
            "[node]\nname='a'\nzzz=1\n",
            &["node.zzz: unknown key; known here: name, address, address_v6"],
        );
        check_text(
            "[node]\n",
            &["t.toml:1: node.name: is missing; add name, as in name = \"gw-1\""],
        );
        check_text(
            "[node]\nname = 3\n",
            &["t.toml:2: node.name: 3 is not text; write text in quotes, as in \"gw-1\""],
        );
        check_text(
            "[node]\nname='a'\nweight=0\n",
            &["weight: 0 is out of range; write a whole number from 1 to 1000"],
        );
        check_text(
            "[node]\nname='a'\nweight=1.5\n",
            &["weight: 1.5 is not a whole number; write a whole number from"],
        );
        check_text(
            "[node]\nname='a'\nnode_header='yes'\n",
            &["'yes' is not true or false; write true or false"],
        );
        check_text(
            "[node]\nname='a'\naddress='::1'\n",
            &["node.address: '::1' is not an IPv4 address"],
        );
        check_text(
            "[[node]]\nname='a'\n",
            &["node: is a list of tables, not one table; write [node], with one"],
        );
        check_text(
            "[node]\nname='a'\n[defaults]\ntimeout='15'\n",
            &["'15' is not a length of time; write a number"],
        );
        check_text("node=1\n", &["t.toml:1: node: 1 is not a table"]);
    }

    #[test]
    fn several_wrong_entries_of_one_list_are_all_found_at_their_places() {
        let head = "[node]\nname='a'\n";
        check_text(
            &format!(
                "{head}[[vip]]\nname='v'\naddress='192.0.2.1'\nports=[0,'x',80,70000,'y']\nprotocol='tpc'\n"
            ),
            &[
                "ports[0]: 0 is out",
                "ports[1]: 'x' is not",
                "ports[3]: 70000 is out",
                "ports[4]: 'y' is not",
                "vip[0].protocol: 'tpc' is not known here; did you mean \"tcp\"? write \"tcp\" or \"udp\"",
            ],
        );
        check_text(
            &format!("{head}[[upstream]]\nname='u'\nendpoints=[{{address='users'}},{{weight=2}},7]\n"),
            &[
                "endpoints[0].address: 'users' is not an IP address or a host name with a port; write it as in",
                "endpoints[1].address: is missing; add address, as in",
                "endpoints[2]: 7 is not a table",
            ],
        );
        check_text(
            &format!("{head}[vip]\nname='v'\n"),
            &["t.toml:3: vip: is one table, not a list of tables; write [[vip]], with two brackets"],
        );
        check_text(
            &format!("{head}[[upstream]]\nname='u'\nendpoints=[]\n"),
            &["upstream[0].endpoints: the list is empty; write a list in brackets with at least one entry"],
        );
    }
}
