//! What would become of a request or a packet, as the running node has it.

use std::sync::Arc;

use super::controller::Controller;
use crate::admin::ApiError;
use crate::config::snapshot::Snapshot;
use crate::config::{Places, Settings};
use crate::explain::{Unanswerable, packet, request};
use crate::{l4, l7};

/// Explains a request by a snapshot and the settings that it was made of.
///
/// # Errors
/// The question cannot be answered.
pub(super) fn request(
    settings: &Settings,
    snapshot: &Arc<Snapshot>,
    question: &request::Question,
) -> Result<request::Explained, ApiError> {
    let of = l7::explain::Of {
        settings,
        snapshot,
        places: &places(settings)?,
        source: l7::explain::Source::Node,
    };
    l7::explain::request(of, question).map_err(invalid)
}

impl Controller {
    /// Explains a packet by the kernel's maps.
    ///
    /// # Errors
    /// There is no data plane, its maps cannot be read, or there can be no such packet.
    pub(super) fn explain_packet(&self, question: &packet::Question) -> Result<packet::Explained, ApiError> {
        question.check().map_err(invalid)?;
        let missing = || {
            let text = "This node steers nothing: [dataplane] is missing in its configuration.";
            ApiError::Conflict(text.to_owned())
        };
        let dataplane = self.parts.dataplane.as_ref().ok_or_else(missing)?;
        let (snapshot, view) = (self.snapshot(), self.view());
        let decided = dataplane
            .explain(question, &snapshot)
            .map_err(|error| ApiError::Failed(format!("{:#}", anyhow::Error::from(error))))?;
        let around = l4::explain::Around {
            snapshot: &snapshot,
            view: &view,
            places: &places(&self.parts.settings)?,
        };
        Ok(l4::explain::tell(question, &decided, around))
    }
}

fn places(settings: &Settings) -> Result<Places, ApiError> {
    // It was read once already.
    let read = Places::read(&settings.source, &settings.text);
    read.map_err(|refused| ApiError::Failed(refused.to_string()))
}

fn invalid(unanswerable: Unanswerable) -> ApiError {
    let text = unanswerable.to_string();
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string());
    ApiError::Invalid(format!("{}{}.", first.unwrap_or_default(), chars.as_str()))
}
