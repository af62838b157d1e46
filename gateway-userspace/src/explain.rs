//! What would become of a request or of a packet, and why: questions and answers as plain data.
//!
//! `gateway explain` asks. `l7/explain.rs` walks a request's way, `l4/explain.rs` runs a packet's decision, both by the
//! functions that real ones go through; [`others`] says why the other routes do not take a request. Nothing is sent, spent
//! or counted.

pub mod others;
pub mod packet;
pub mod request;

use serde::{Deserialize, Serialize};

use crate::config::path::KeyPath;
use crate::config::{Place, Places};

/// One step of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What it is about, as in `listener`, `route`, `filter`.
    pub step: String,
    /// What was decided, for people.
    pub says: String,
    /// What of the configuration decided it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// A question that cannot be answered; the text says what to ask instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unanswerable(pub String);

/// The steps so far.
#[derive(Debug)]
pub struct Trail<'p> {
    places: &'p Places,
    steps: Vec<Step>,
}

impl<'p> Trail<'p> {
    /// No step yet; places are those of the configuration that decides.
    pub fn new(places: &'p Places) -> Self {
        Self {
            places,
            steps: Vec::new(),
        }
    }

    /// Adds a step that nothing of the configuration decided.
    pub fn note(&mut self, step: &str, says: impl Into<String>) {
        self.steps.push(Step {
            step: step.to_owned(),
            says: says.into(),
            place: None,
        });
    }

    /// Adds a step.
    pub fn step(&mut self, step: &str, says: impl Into<String>, at: &KeyPath) {
        self.steps.push(Step {
            step: step.to_owned(),
            says: says.into(),
            place: Some(self.places.place(at)),
        });
    }

    /// Where things stand.
    pub fn places(&self) -> &'p Places {
        self.places
    }

    /// All of them.
    pub fn into_steps(self) -> Vec<Step> {
        self.steps
    }
}
