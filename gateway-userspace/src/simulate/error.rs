//! What is wrong with what was given: where, what, and what would be right.

/// A refused trace, endpoint or arrival.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place} {fault}; {remedy}")]
pub struct SimulateError {
    /// Where it is: a line of the trace, or an endpoint.
    pub place: String,
    /// What is wrong.
    pub fault: String,
    /// What would be right.
    pub remedy: String,
}

impl SimulateError {
    pub(super) fn new(place: impl Into<String>, fault: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            fault: fault.into(),
            remedy: remedy.into(),
        }
    }
}

/// A number within bounds.
pub(super) fn number(place: &str, text: &str, low: f64, high: f64, unit: &str) -> Result<f64, SimulateError> {
    let remedy = || format!("give {low} to {high} {unit}");
    match text.trim().parse::<f64>() {
        Ok(number) if (low..=high).contains(&number) => Ok(number),
        Ok(_) => Err(SimulateError::new(
            place,
            format!("is {}, which is out of bounds", text.trim()),
            remedy(),
        )),
        Err(_) => Err(SimulateError::new(
            place,
            format!("is {:?}, which is no number", text.trim()),
            remedy(),
        )),
    }
}
