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
    Places::of(settings).map_err(|refused| ApiError::Failed(refused.to_string()))
}

fn invalid(unanswerable: Unanswerable) -> ApiError {
    let text = unanswerable.to_string();
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string());
    ApiError::Invalid(format!("{}{}.", first.unwrap_or_default(), chars.as_str()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::answers::Answers;
    use crate::config::compile;
    use crate::config::load::load_text;
    use crate::config::surroundings::{Invalid, Surroundings};
    use crate::registry::Registry;

    #[test]
    fn the_node_answers_by_the_text_that_is_in_force_and_refuses_with_a_sentence() {
        let text = "[node]\nname='gw-1'\n[[listener]]\nname='web'\naddress='0.0.0.0:80'\n\
                    [[route]]\nname='r'\nlisteners=['web']\nrespond={status=204}\nmatch={path='/x'}\n";
        let surroundings = Surroundings {
            cores: 1,
            state_directory: "/state".into(),
            invalid: Invalid::Refused,
        };
        // No such file: what explains is what was read once.
        let settings = load_text(Path::new("/nowhere/t.toml"), text, &surroundings).unwrap();
        let snapshot = Arc::new(compile(&settings, &Registry::default(), &Answers::default(), 7));
        let mut question = request::Question {
            method: "GET".to_owned(),
            url: "http://a.example/x".to_owned(),
            ..request::Question::default()
        };
        let told = request(&settings, &snapshot, &question).unwrap();
        assert_eq!((told.snapshot, told.verdict.status), (Some(7), Some(204)));
        let route = told.steps.iter().find(|step| step.step == "route").unwrap();
        assert_eq!(route.place.as_ref().unwrap().line, 6);
        question.url = "a.example/x".to_owned();
        let refused = request(&settings, &snapshot, &question).unwrap_err();
        assert!(
            matches!(&refused, ApiError::Invalid(text) if text.starts_with("The URL") && text.ends_with('.'))
        );
    }
}
