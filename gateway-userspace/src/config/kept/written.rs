//! Values as TOML text: one `[[route]]` table, a key a line, with inline tables in it.

use serde_json::Value;

/// A route's table.
pub(super) fn table(route: &Value) -> String {
    let members = route.as_object().into_iter().flatten();
    let lines = members.map(|(name, value)| format!("{} = {}\n", key(name), inline(value)));
    std::iter::once("\n[[route]]\n".to_owned()).chain(lines).collect()
}

fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(is_bare) {
        name.to_owned()
    } else {
        text(name)
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let pairs = members
                .iter()
                .map(|(name, value)| format!("{} = {}", key(name), inline(value)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::String(value) => text(value),
        // TOML writes the others as JSON does; there is no null, which is refused before.
        other => other.to_string(),
    }
}

/// JSON's escapes are TOML's, but that TOML wants one for DEL, too.
fn text(value: &str) -> String {
    Value::from(value).to_string().replace('\u{7f}', "\\u007f")
}
