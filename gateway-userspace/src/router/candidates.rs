//! Routes of one path that differ in what else they ask for: tried in the order of precedence.
//!
//! Those that ask for an exact value stand in a table by that value, so that of 10,000 tenants with a header each one is
//! tried. The others are tried one after the other.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use http::Method;

use super::conditions::{Conditions, Facts, Rank, Source};
use super::paths::{Fnv, Methods};
use super::{Form, RouteIndex, Slashes, Terms};

/// The routes of one path that have conditions.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// By the value that they ask for of a source, each list with the best first.
    by_value: Vec<(Source, ByValue)>,
    /// Those without such a value.
    rest: Vec<Candidate>,
    /// What they say, to find those that say the same.
    said: HashSet<(Box<str>, Option<Method>), BuildHasherDefault<Fnv>>,
}

type ByValue = HashMap<Box<[u8]>, Vec<Candidate>, BuildHasherDefault<Fnv>>;

/// A route with conditions.
#[derive(Debug)]
pub(super) struct Candidate {
    /// Empty: every method.
    methods: Box<[Method]>,
    slashes: Slashes,
    conditions: Arc<Conditions>,
    pub(super) rank: Rank,
    pub(super) route: RouteIndex,
}

/// What is looked for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'r> {
    pub(super) method: &'r Method,
    pub(super) form: Form,
    pub(super) path: &'r str,
    pub(super) facts: &'r Facts<'r>,
}

/// What a list of candidates comes to.
pub(super) enum Best<'c> {
    Found(&'c Candidate),
    /// One would have it but for the method.
    MethodRejected,
    Nothing,
}

impl Candidate {
    /// Whether it names methods, of which the request's is one then.
    pub(super) fn methods(&self) -> Methods {
        if self.methods.is_empty() {
            Methods::All
        } else {
            Methods::Named
        }
    }

    /// The least goes first.
    fn order(&self) -> (Reverse<Methods>, Reverse<Rank>, RouteIndex) {
        (Reverse(self.methods()), Reverse(self.rank), self.route)
    }
}

impl Candidates {
    /// Adds one.
    ///
    /// # Errors
    /// One that says the same for the same method is there.
    pub(super) fn insert(&mut self, terms: Terms<'_>, route: RouteIndex) -> Result<(), String> {
        let text: Box<str> = terms.conditions.to_string().into();
        let all = terms.methods.is_empty().then_some(None);
        let keys: Vec<_> = all
            .into_iter()
            .chain(terms.methods.iter().cloned().map(Some))
            .map(|method| (text.clone(), method))
            .collect();
        if let Some((_, method)) = keys.iter().find(|key| self.said.contains(*key)) {
            let method = method.as_ref().map_or("every method", Method::as_str);
            return Err(format!(
                "an earlier pattern takes {method} of the same path on the same conditions; remove one of them"
            ));
        }
        self.said.extend(keys);
        let candidate = Candidate {
            methods: terms.methods.into(),
            slashes: terms.slashes,
            conditions: Arc::clone(terms.conditions),
            rank: terms.conditions.rank(),
            route,
        };
        let list = self.list_for(terms.conditions);
        let position = list.partition_point(|other| other.order() <= candidate.order());
        list.insert(position, candidate);
        Ok(())
    }

    /// Of the lists that could hold these conditions the shortest: a value that all ask for tells nobody apart.
    fn list_for(&mut self, conditions: &Conditions) -> &mut Vec<Candidate> {
        let length = |(source, value): &(&Source, &str)| {
            let tables = self.by_value.iter();
            let mut lists = tables
                .filter(|(other, _)| other == *source)
                .filter_map(|(_, table)| table.get(value.as_bytes()));
            lists.next().map_or(0, Vec::len)
        };
        let Some((source, value)) = conditions.exact().min_by_key(length) else {
            return &mut self.rest;
        };
        let position = match self.by_value.iter().position(|(other, _)| other == source) {
            Some(position) => position,
            None => {
                self.by_value.push((source.clone(), ByValue::default()));
                self.by_value.len() - 1
            }
        };
        match self.by_value.get_mut(position) {
            Some((_, table)) => table.entry(value.as_bytes().into()).or_default(),
            // It was found, or pushed.
            None => &mut self.rest,
        }
    }

    /// The one that goes first of those that take the request; allocates nothing but for escapes in a query.
    pub(super) fn best(&self, wanted: Wanted<'_>) -> Best<'_> {
        let mut best = Best::Nothing;
        self.lists(wanted.facts, |list| {
            for candidate in list {
                if let Best::Found(found) = &best
                    && found.order() <= candidate.order()
                {
                    return;
                }
                super::step();
                if !wanted.form.is_for(candidate.slashes) {
                    continue;
                }
                let takes = candidate.methods.is_empty() || candidate.methods.contains(wanted.method);
                if !takes && !matches!(best, Best::Nothing) {
                    continue;
                }
                if candidate.conditions.hold(wanted.path, wanted.facts) {
                    if takes {
                        best = Best::Found(candidate);
                        return;
                    }
                    best = Best::MethodRejected;
                }
            }
        });
        best
    }

    /// Adds the methods of those whose conditions hold.
    pub(super) fn collect_methods(&self, path: &str, facts: &Facts<'_>, methods: &mut Vec<Method>) {
        self.lists(facts, |list| {
            let holding = list
                .iter()
                .filter(|candidate| candidate.conditions.hold(path, facts));
            methods.extend(holding.flat_map(|candidate| candidate.methods.iter().cloned()));
        });
    }

    /// Shows the lists in which there may be one for the request.
    fn lists<'c>(&'c self, facts: &Facts<'_>, mut show: impl FnMut(&'c [Candidate])) {
        show(&self.rest);
        for (source, table) in &self.by_value {
            source.any(facts, |value| {
                super::step();
                if let Some(list) = table.get(value) {
                    show(list);
                }
                false
            });
        }
    }
}
