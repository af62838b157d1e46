//! The path patterns of one host as a tree of segments.
//!
//! A look-up costs by the segments of the path, not by the number of routes: of a node's literals one is looked at,
//! and its parameter only as long as nothing better was found.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use http::Method;

use super::candidates::{Best, Candidates, Wanted};
use super::conditions::{Facts, Rank};
use super::pattern::{Segment, parse};
use super::{PathPattern, RouteIndex, Slashes, Terms};

/// What the tree says of a path and method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Found(Found),
    /// A pattern has the path, none the method.
    MethodRejected,
    Nothing,
}

impl Outcome {
    /// Of the two forms of one path.
    pub(super) fn or_better(self, other: Self) -> Self {
        match (self, other) {
            (Self::Found(one), Self::Found(other)) if one.precedence() > other.precedence() => self,
            (Self::Found(_), Self::MethodRejected | Self::Nothing)
            | (Self::MethodRejected, Self::Nothing) => self,
            _ => other,
        }
    }
}

/// A route, and how well its pattern fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    fit: Fit,
    methods: Methods,
    rank: Rank,
    pub(super) route: RouteIndex,
}

impl Found {
    fn precedence(&self) -> (Fit, Methods, Rank) {
        (self.fit, self.methods, self.rank)
    }
}

/// In the order of precedence, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// By a regular expression.
    Expression,
    Prefix {
        segments: usize,
        parameters: Reverse<usize>,
    },
    /// For one path, fewer parameters are more literal segments; none is what the Gateway API calls exact.
    Exact { parameters: Reverse<usize> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Methods {
    All,
    Named,
}

/// All path patterns of one host.
#[derive(Debug, Default)]
pub(super) struct Paths {
    root: Node,
    /// By regular expressions, all of them.
    expressions: Leaves,
}

/// What may follow the segments that led here.
#[derive(Debug, Default)]
struct Node {
    literals: Table<Node>,
    parameter: Option<Box<Node>>,
    exact: Leaves,
    prefix: Leaves,
}

/// By text of the configuration, which is why no client can make keys collide.
pub(super) type Table<V> = HashMap<Box<str>, V, BuildHasherDefault<Fnv>>;

/// FNV-1a: quick for short text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Routes with the same host and path; they differ in methods, or in what else they ask for.
#[derive(Debug, Default)]
struct Leaves {
    /// Those that ask for nothing else.
    plain: Vec<Leaf>,
    conditional: Option<Box<Candidates>>,
}

#[derive(Debug)]
struct Leaf {
    /// Empty: every method.
    methods: Box<[Method]>,
    slashes: Slashes,
    route: RouteIndex,
}

impl Leaves {
    fn insert(&mut self, terms: Terms<'_>, route: RouteIndex) -> Result<(), String> {
        let methods = terms.methods;
        if !terms.conditions.is_empty() {
            return self.conditional.get_or_insert_default().insert(terms, route);
        }
        for leaf in &self.plain {
            if methods.is_empty() && leaf.methods.is_empty() {
                return Err("says the same as an earlier pattern; remove one of them".to_owned());
            }
            if let Some(method) = methods.iter().find(|method| leaf.methods.contains(method)) {
                return Err(format!(
                    "an earlier pattern takes {method} of the same path; remove one of them"
                ));
            }
        }
        // Nearly always there is one alone.
        self.plain.reserve_exact(1);
        self.plain.push(Leaf {
            methods: methods.into(),
            slashes: terms.slashes,
            route,
        });
        Ok(())
    }
}

impl Paths {
    pub(super) fn insert(
        &mut self,
        pattern: &PathPattern,
        terms: Terms<'_>,
        route: RouteIndex,
    ) -> Result<(), String> {
        if let Some(method) = first_twice(terms.methods) {
            return Err(format!("names {method} twice; remove one of them"));
        }
        let text = match pattern {
            PathPattern::Exact(text) | PathPattern::Prefix(text) => text,
            PathPattern::Regex(expression) => {
                let conditions = Arc::new(terms.conditions.of_path(expression));
                let terms = Terms {
                    conditions: &conditions,
                    ..terms
                };
                return self.expressions.insert(terms, route);
            }
        };
        let segments = parse(text)?;
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
            PathPattern::Prefix(_) => node.prefix.insert(terms, route),
            _ => node.exact.insert(terms, route),
        }
    }

    /// The best of the routes that take the wanted form of a path.
    pub(super) fn find(&self, wanted: Wanted<'_>) -> Outcome {
        let mut search = Search {
            wanted,
            outcome: Outcome::Nothing,
        };
        self.visit(wanted.path, &mut search);
        search.outcome
    }

    /// Adds the methods of every pattern that has the path, and whose conditions hold.
    pub(super) fn collect_methods(&self, path: &str, facts: &Facts<'_>, methods: &mut Vec<Method>) {
        self.visit(path, &mut Allowed { path, facts, methods });
    }

    fn visit(&self, path: &str, visitor: &mut impl Visitor) {
        if let Some(rest) = path.strip_prefix('/') {
            self.root.visit(Some(rest), 0, 0, visitor);
            visitor.take(&self.expressions, Fit::Expression);
        } else if path == "*" {
            // What OPTIONS asks of the whole server belongs to whoever has the whole server.
            visitor.take(&self.root.prefix, Fit::prefix(0, 0));
        }
    }
}

/// Is shown what fits a path: the deeper first, and of one depth the literal first.
trait Visitor {
    /// Nothing with so many parameters or more is of interest any more.
    fn is_settled(&self, parameters: usize) -> bool;
    fn take(&mut self, leaves: &Leaves, fit: Fit);
}

/// For one route.
struct Search<'r> {
    wanted: Wanted<'r>,
    outcome: Outcome,
}

impl Visitor for Search<'_> {
    fn is_settled(&self, parameters: usize) -> bool {
        match &self.outcome {
            Outcome::Found(found) => found.fit >= Fit::exact(parameters),
            _ => false,
        }
    }

    fn take(&mut self, leaves: &Leaves, fit: Fit) {
        if let Outcome::Found(found) = &self.outcome
            && found.fit >= fit
        {
            return;
        }
        let mut best = self.plain(&leaves.plain, fit);
        if let Some(candidates) = &leaves.conditional {
            let conditional = self.conditional(candidates, fit);
            best = best.into_iter().chain(conditional).max_by_key(Found::precedence);
        }
        if let Some(found) = best {
            self.outcome = Outcome::Found(found);
        }
    }
}

impl Search<'_> {
    /// Of those that ask for nothing but the method.
    fn plain(&mut self, leaves: &[Leaf], fit: Fit) -> Option<Found> {
        let mut for_all = None;
        for leaf in leaves {
            super::step();
            if !self.wanted.form.is_for(leaf.slashes) {
                continue;
            }
            let methods = if leaf.methods.is_empty() {
                Methods::All
            } else if leaf.methods.contains(self.wanted.method) {
                Methods::Named
            } else {
                self.rejected();
                continue;
            };
            let found = Found {
                fit,
                methods,
                rank: Rank::default(),
                route: leaf.route,
            };
            if methods == Methods::Named {
                return Some(found);
            }
            for_all = Some(found);
        }
        for_all
    }

    /// Of those that ask for more.
    fn conditional(&mut self, candidates: &Candidates, fit: Fit) -> Option<Found> {
        match candidates.best(self.wanted) {
            Best::Found(candidate) => Some(Found {
                fit,
                methods: candidate.methods(),
                rank: candidate.rank,
                route: candidate.route,
            }),
            Best::MethodRejected => {
                self.rejected();
                None
            }
            Best::Nothing => None,
        }
    }

    fn rejected(&mut self) {
        if self.outcome == Outcome::Nothing {
            self.outcome = Outcome::MethodRejected;
        }
    }
}

/// For the methods of all.
struct Allowed<'r> {
    path: &'r str,
    facts: &'r Facts<'r>,
    methods: &'r mut Vec<Method>,
}

impl Visitor for Allowed<'_> {
    fn is_settled(&self, _: usize) -> bool {
        false
    }

    fn take(&mut self, leaves: &Leaves, _: Fit) {
        let plain = leaves.plain.iter();
        self.methods
            .extend(plain.flat_map(|leaf| leaf.methods.iter().cloned()));
        if let Some(candidates) = &leaves.conditional {
            candidates.collect_methods(self.path, self.facts, self.methods);
        }
    }
}

impl Fit {
    fn prefix(segments: usize, parameters: usize) -> Self {
        Self::Prefix {
            segments,
            parameters: Reverse(parameters),
        }
    }

    fn exact(parameters: usize) -> Self {
        Self::Exact {
            parameters: Reverse(parameters),
        }
    }
}

impl Node {
    /// `rest` is what follows the slash after this node; `None`: the path ends here. Each node is seen once at most.
    fn visit(&self, rest: Option<&str>, segments: usize, parameters: usize, visitor: &mut impl Visitor) {
        super::step();
        match rest {
            None => visitor.take(&self.exact, Fit::exact(parameters)),
            Some(rest) => {
                let (segment, rest) = split(rest);
                if let Some(node) = self.literals.get(segment) {
                    node.visit(rest, segments + 1, parameters, visitor);
                }
                if let Some(node) = &self.parameter
                    && !segment.is_empty()
                    && !visitor.is_settled(parameters + 1)
                {
                    node.visit(rest, segments + 1, parameters + 1, visitor);
                }
            }
        }
        visitor.take(&self.prefix, Fit::prefix(segments, parameters));
    }
}

fn split(path: &str) -> (&str, Option<&str>) {
    match path.split_once('/') {
        Some((segment, rest)) => (segment, Some(rest)),
        None => (path, None),
    }
}

fn first_twice(methods: &[Method]) -> Option<&Method> {
    methods
        .iter()
        .enumerate()
        .find(|(index, method)| methods.iter().take(*index).any(|earlier| earlier == *method))
        .map(|(_, method)| method)
}
