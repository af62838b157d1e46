//! The path patterns of one host as a tree of segments.

use std::collections::HashMap;

use http::Method;

use super::{PathPattern, RouteIndex};

/// Segments in a pattern: bounds the depth of a lookup. Longer paths only match prefixes.
const SEGMENTS_MAX: usize = 64;

/// What the tree says of a path and method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Found(RouteIndex),
    /// A pattern has the path, none the method.
    MethodRejected,
    Nothing,
}

/// All path patterns of one host.
#[derive(Debug, Default)]
pub(super) struct Paths {
    root: Node,
}

/// What may follow the segments that led here.
#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, Node>,
    parameter: Option<Box<Node>>,
    exact: Leaves,
    prefix: Leaves,
}

/// Routes with the same host and path; they differ in methods.
#[derive(Debug, Default)]
struct Leaves(Vec<Leaf>);

#[derive(Debug)]
struct Leaf {
    /// Empty: every method.
    methods: Box<[Method]>,
    route: RouteIndex,
}

impl Leaves {
    fn find(&self, method: &Method) -> Outcome {
        let takes_all = |leaf: &&Leaf| leaf.methods.is_empty();
        let found = self
            .0
            .iter()
            .find(|leaf| leaf.methods.contains(method))
            .or_else(|| self.0.iter().find(takes_all));
        match found {
            Some(leaf) => Outcome::Found(leaf.route),
            None if self.0.is_empty() => Outcome::Nothing,
            None => Outcome::MethodRejected,
        }
    }

    fn insert(&mut self, methods: &[Method], route: RouteIndex) -> Result<(), String> {
        for leaf in &self.0 {
            if methods.is_empty() && leaf.methods.is_empty() {
                return Err("says the same as an earlier pattern; remove one of them".to_owned());
            }
            if let Some(method) = methods.iter().find(|method| leaf.methods.contains(method)) {
                return Err(format!(
                    "an earlier pattern takes {method} of the same path; remove one of them"
                ));
            }
        }
        self.0.push(Leaf {
            methods: methods.into(),
            route,
        });
        Ok(())
    }
}

impl Paths {
    pub(super) fn insert(
        &mut self,
        pattern: &PathPattern,
        methods: &[Method],
        route: RouteIndex,
    ) -> Result<(), String> {
        let (PathPattern::Exact(text) | PathPattern::Prefix(text)) = pattern;
        let segments = parse(text)?;
        if let Some(twice) = first_twice(methods) {
            return Err(format!("names the method {twice} twice; remove one of them"));
        }
        let segments = match (pattern, segments.split_last()) {
            (PathPattern::Prefix(_), Some((Segment::Literal(""), before))) => before,
            _ => segments.as_slice(),
        };
        let mut node = &mut self.root;
        for segment in segments {
            node = match segment {
                Segment::Literal(text) => node.literals.entry((*text).into()).or_default(),
                Segment::Parameter(_) => node.parameter.get_or_insert_default(),
            };
        }
        match pattern {
            PathPattern::Exact(_) => node.exact.insert(methods, route),
            PathPattern::Prefix(_) => node.prefix.insert(methods, route),
        }
    }

    pub(super) fn find(&self, path: &str, method: &Method) -> Outcome {
        let Some(path) = path.strip_prefix('/') else {
            return Outcome::Nothing;
        };
        let mut seen = Outcome::Nothing;
        let mut take = |leaves: &Leaves| match leaves.find(method) {
            Outcome::Found(route) => Some(route),
            Outcome::MethodRejected => {
                seen = Outcome::MethodRejected;
                None
            }
            Outcome::Nothing => None,
        };
        let found = self.root.visit_exact(Some(path), &mut take);
        let found = found.or_else(|| self.root.longest_prefix(Some(path), 0, &mut take).map(|(_, r)| r));
        found.map_or(seen, Outcome::Found)
    }

    /// Adds the methods of every pattern that has the path.
    pub(super) fn collect_methods(&self, path: &str, methods: &mut Vec<Method>) {
        let Some(path) = path.strip_prefix('/') else {
            return;
        };
        let mut take = |leaves: &Leaves| {
            methods.extend(leaves.0.iter().flat_map(|leaf| leaf.methods.iter().cloned()));
            None
        };
        let none = self.root.visit_exact(Some(path), &mut take);
        let none = none.or_else(|| self.root.longest_prefix(Some(path), 0, &mut take).map(|(_, r)| r));
        debug_assert!(none.is_none(), "the visitor takes nothing");
    }
}

type Take<'t> = &'t mut dyn FnMut(&Leaves) -> Option<RouteIndex>;

impl Node {
    /// `rest` is what follows the slash after this node; `None`: the path ends here.
    fn visit_exact(&self, rest: Option<&str>, take: Take<'_>) -> Option<RouteIndex> {
        let Some(rest) = rest else {
            return take(&self.exact);
        };
        let (segment, rest) = split(rest);
        if let Some(node) = self.literals.get(segment)
            && let Some(route) = node.visit_exact(rest, take)
        {
            return Some(route);
        }
        match &self.parameter {
            Some(node) if !segment.is_empty() => node.visit_exact(rest, take),
            _ => None,
        }
    }

    /// The route of the prefix with the most segments, and how many; a literal before a parameter.
    fn longest_prefix(
        &self,
        rest: Option<&str>,
        depth: usize,
        take: Take<'_>,
    ) -> Option<(usize, RouteIndex)> {
        let mut best: Option<(usize, RouteIndex)> = None;
        if let Some((segment, rest)) = rest.map(split) {
            if let Some(node) = self.literals.get(segment) {
                best = node.longest_prefix(rest, depth + 1, take);
            }
            if let Some(node) = &self.parameter
                && !segment.is_empty()
            {
                let other = node.longest_prefix(rest, depth + 1, take);
                if other.map(|(depth, _)| depth) > best.map(|(depth, _)| depth) {
                    best = other;
                }
            }
        }
        best.or_else(|| take(&self.prefix).map(|route| (depth, route)))
    }
}

fn split(path: &str) -> (&str, Option<&str>) {
    match path.split_once('/') {
        Some((segment, rest)) => (segment, Some(rest)),
        None => (path, None),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Segment<'p> {
    Literal(&'p str),
    Parameter(&'p str),
}

fn parse(pattern: &str) -> Result<Vec<Segment<'_>>, String> {
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
        let segment = match text.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) {
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

fn first_twice(methods: &[Method]) -> Option<&Method> {
    methods
        .iter()
        .enumerate()
        .find(|(index, method)| methods.iter().take(*index).any(|earlier| earlier == *method))
        .map(|(_, method)| method)
}
