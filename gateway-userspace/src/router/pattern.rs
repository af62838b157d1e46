//! A path pattern by its segments: how it is read, and what its parameters are in a path.

use std::str::Split;

use super::PathPattern;

/// Segments in a pattern: bounds the depth of a lookup. Longer paths only match prefixes.
const SEGMENTS_MAX: usize = 64;

/// The parameters of a pattern in a path that it matches, in their order: names and values.
///
/// Values are as they stand in the normalised path: never empty, with their escapes.
#[derive(Clone, Debug, Default)]
pub struct Parameters<'r> {
    pattern: Option<Split<'r, char>>,
    path: Option<Split<'r, char>>,
}

impl<'r> Parameters<'r> {
    /// `None`: the pattern does not match the path.
    pub(super) fn new(pattern: &'r PathPattern, path: &'r str) -> Option<Self> {
        let mut segments = path.split('/');
        let is_same = |expected: &str| match (parameter(expected), segments.next()) {
            (_, None) => false,
            (Some(_), Some(segment)) => !segment.is_empty(),
            (None, Some(segment)) => segment == expected,
        };
        let text = match pattern {
            PathPattern::Exact(text) => text,
            PathPattern::Prefix(text) => text.strip_suffix('/').unwrap_or(text),
            PathPattern::Regex(_) => return None,
        };
        let is_match = text.split('/').all(is_same);
        let is_whole = matches!(pattern, PathPattern::Prefix(_)) || segments.next().is_none();
        (is_match && is_whole).then(|| Self {
            pattern: Some(text.split('/')),
            path: Some(path.split('/')),
        })
    }
}

impl<'r> Iterator for Parameters<'r> {
    type Item = (&'r str, &'r str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (expected, value) = (self.pattern.as_mut()?.next()?, self.path.as_mut()?.next()?);
            if let Some(name) = parameter(expected) {
                return Some((name, value));
            }
        }
    }
}

impl PathPattern {
    /// Whether a segment of it is that parameter.
    pub fn has_parameter(&self, name: &str) -> bool {
        match self {
            Self::Exact(text) | Self::Prefix(text) => {
                text.split('/').any(|segment| parameter(segment) == Some(name))
            }
            Self::Regex(_) => false,
        }
    }

    /// Whether it matches the same paths as another, the names of parameters apart.
    pub fn takes_same(&self, other: &Self) -> bool {
        let is_same = |one: &str, other: &str| {
            if !one.contains('{') || !other.contains('{') {
                return one == other;
            }
            let same = |(one, other): (&str, &str)| match (parameter(one), parameter(other)) {
                (None, None) => one == other,
                (Some(_), Some(_)) => true,
                _ => false,
            };
            one.split('/').count() == other.split('/').count()
                && one.split('/').zip(other.split('/')).all(same)
        };
        match (self, other) {
            (Self::Exact(one), Self::Exact(other)) => is_same(one, other),
            (Self::Prefix(one), Self::Prefix(other)) => is_same(
                one.strip_suffix('/').unwrap_or(one),
                other.strip_suffix('/').unwrap_or(other),
            ),
            (Self::Regex(one), Self::Regex(other)) => one == other,
            _ => false,
        }
    }

    /// What stands in that parameter's place in a path that it matches.
    pub fn parameter<'p>(&'p self, name: &str, path: &'p str) -> Option<&'p str> {
        let mut parameters = Parameters::new(self, path)?;
        parameters.find_map(|(known, value)| (known == name).then_some(value))
    }
}

/// The name of a segment that is a parameter.
fn parameter(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

/// A part of a pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Segment<'p> {
    Literal(&'p str),
    Parameter(&'p str),
}

/// The segments of a pattern.
///
/// # Errors
/// What is wrong with it, and what to write instead.
pub(super) fn parse(pattern: &str) -> Result<Vec<Segment<'_>>, String> {
    let Some(rest) = pattern.strip_prefix('/') else {
        return Err("does not begin with `/`; write the whole path".to_owned());
    };
    if let Some(bad) = pattern
        .chars()
        .find(|&c| matches!(c, '?' | '#') || c.is_ascii_control())
    {
        return Err(format!(
            "has a `{}`; routes match the path alone",
            bad.escape_default()
        ));
    }
    let mut segments = Vec::new();
    for text in rest.split('/') {
        let segment = match parameter(text) {
            Some("") => return Err("has `{}` without a name; write for example `{id}`".to_owned()),
            Some(name) if !name.contains(['{', '}']) => Segment::Parameter(name),
            None if !text.contains(['{', '}']) => Segment::Literal(text),
            _ => {
                return Err(format!(
                    "has braces inside {text:?}; a parameter is a whole segment, as in `/{{id}}`"
                ));
            }
        };
        if matches!(segment, Segment::Parameter(_)) && segments.contains(&segment) {
            return Err(format!(
                "names the parameter {text} twice; give each its own name"
            ));
        }
        segments.push(segment);
    }
    if segments.len() > SEGMENTS_MAX {
        return Err(format!(
            "has {} segments; at most {SEGMENTS_MAX} are looked up",
            segments.len()
        ));
    }
    Ok(segments)
}
