//! What is said of endpoints, for subsets to go by: names and values, from the file or with a registration.

use std::collections::BTreeMap;

use super::limits;

/// Names and values of an endpoint.
pub type Metadata = BTreeMap<String, String>;

/// What is wrong with one of them, or (`None`) with all together; and what would be right.
pub type Fault<'m> = (Option<&'m str>, String, String);

/// What is wrong with these.
pub fn faults(metadata: &Metadata) -> Vec<Fault<'_>> {
    let mut faults = Vec::new();
    if metadata.len() > limits::METADATA_MAX {
        let fault = format!("{} names are too many", metadata.len());
        faults.push((None, fault, format!("write at most {}", limits::METADATA_MAX)));
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    let is_visible = |byte: u8| (0x20..0x7f).contains(&byte);
    for (name, value) in metadata {
        if name.is_empty() || name.len() > limits::NAME_CHARS_MAX || !name.chars().all(is_name) {
            let remedy = format!(
                "write 1 to {} letters, digits, '.', '_', '-' or '/'",
                limits::NAME_CHARS_MAX
            );
            faults.push((
                Some(name.as_str()),
                format!("\"{name}\" will not do as a name"),
                remedy,
            ));
        } else if value.is_empty()
            || value.len() > limits::METADATA_CHARS_MAX
            || value.trim() != value
            || !value.bytes().all(is_visible)
        {
            let remedy = format!(
                "write 1 to {} characters of ASCII, no blank first or last",
                limits::METADATA_CHARS_MAX
            );
            faults.push((
                Some(name.as_str()),
                format!("\"{value}\" will not do as a value"),
                remedy,
            ));
        }
    }
    faults
}

/// Whether an endpoint has all that is asked for.
pub fn has_all(metadata: &Metadata, asked: &Metadata) -> bool {
    asked
        .iter()
        .all(|(name, value)| metadata.get(name) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Metadata {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn names_and_values_have_bounds() {
        let long = "x".repeat(129);
        let many: Vec<String> = (0..17).map(|index| format!("n{index}")).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), "v")).collect();
        type Row<'r> = (&'r [(&'r str, &'r str)], &'r [&'r str]);
        let rows: &[Row<'_>] = &[
            (&[("version", "v2"), ("app.example/stage", "a b")], &[]),
            (&[("", "v")], &["\"\" will not do as a name"]),
            (&[("a b", "v")], &["\"a b\" will not do as a name"]),
            (&[("a", "")], &["\"\" will not do as a value"]),
            (&[("a", " v")], &["\" v\" will not do as a value"]),
            (&[("a", "ä"), ("b", "\n")], &["\"ä\" will", "\"\n\" will"]),
            (&[("a", &long)], &["\"xxx"]),
            (&many, &["17 names are too many"]),
        ];
        for (pairs, expected) in rows {
            let metadata = of(pairs);
            let faults = faults(&metadata);
            assert_eq!(faults.len(), expected.len(), "{faults:?}");
            for ((_, fault, _), expected) in faults.iter().zip(*expected) {
                assert!(fault.starts_with(expected), "{fault}");
            }
        }
    }

    #[test]
    fn all_that_is_asked_for_must_be_there() {
        let metadata = of(&[("version", "v2"), ("stage", "canary")]);
        for (asked, expected) in [
            (of(&[("version", "v2")]), true),
            (of(&[("stage", "canary"), ("version", "v2")]), true),
            (of(&[("version", "v1")]), false),
            (of(&[("version", "v2"), ("zone", "a")]), false),
        ] {
            assert_eq!(has_all(&metadata, &asked), expected, "{asked:?}");
        }
    }
}
