//! What would become of a request or a packet, as the running node has it.

use std::sync::Arc;

use super::controller::Controller;
use crate::admin::ApiError;
use crate::config::snapshot::Snapshot;
use crate::config::{Places, Settings};
use crate::explain::{Unanswerable, packet, request};
use crate::view::View;
use crate::{l4, l7};

/// Explains a request by the snapshot and the settings that it was made of.
///
/// # Errors
/// The question cannot be answered.
pub(super) fn request(
    in_force: &InForce,
    question: &request::Question,
) -> Result<request::Explained, ApiError> {
    let of = l7::explain::Of {
        settings: &in_force.settings,
        snapshot: &in_force.snapshot,
        places: &places(&in_force.settings)?,
        source: l7::explain::Source::Node,
    };
    l7::explain::request(of, question).map_err(invalid)
}

/// What is in force, for explanations, which are made on threads of their own.
#[derive(Debug)]
pub struct InForce {
    /// As they were read.
    pub(super) settings: Settings,
    /// What they were compiled to.
    pub(super) snapshot: Arc<Snapshot>,
    /// Who serves.
    pub(super) view: Arc<View>,
    /// The kernel's maps; `None`: the node steers nothing.
    pub(super) maps: Option<Arc<l4::explain::Reader>>,
    /// By what packets are told of; `None`: the node steers nothing.
    pub(super) tracer: Option<Arc<l4::trace::Tracer>>,
}

impl Controller {
    /// What explanations are made of.
    pub(super) fn in_force(&self) -> InForce {
        InForce {
            settings: self.parts.settings.clone(),
            snapshot: self.snapshot(),
            view: self.view(),
            maps: self.parts.dataplane.as_ref().map(l4::DataPlane::reader),
            tracer: self.parts.dataplane.as_ref().map(l4::DataPlane::tracer),
        }
    }
}

/// Explains a packet by the kernel's maps as they are now.
///
/// # Errors
/// There is no data plane, its maps cannot be read, or there can be no such packet.
pub(super) fn packet(in_force: &InForce, question: &packet::Question) -> Result<packet::Explained, ApiError> {
    question.check().map_err(invalid)?;
    let maps = in_force.maps.as_ref().ok_or_else(no_dataplane)?;
    let decided = maps
        .explain(question, &in_force.snapshot)
        .map_err(|error| ApiError::Failed(format!("{:#}", anyhow::Error::from(error))))?;
    let around = l4::explain::Around {
        snapshot: &in_force.snapshot,
        view: &in_force.view,
        places: &places(&in_force.settings)?,
    };
    Ok(l4::explain::tell(question, &decided, around))
}

pub(super) fn no_dataplane() -> ApiError {
    let text = "This node steers nothing: [dataplane] is missing in its configuration.";
    ApiError::Conflict(text.to_owned())
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
        let in_force = InForce {
            settings,
            snapshot,
            view: Arc::default(),
            maps: None,
            tracer: None,
        };
        let told = request(&in_force, &question).unwrap();
        assert_eq!((told.snapshot, told.verdict.status), (Some(7), Some(204)));
        let route = told.steps.iter().find(|step| step.step == "route").unwrap();
        assert_eq!(route.place.as_ref().unwrap().line, 6);
        question.url = "a.example/x".to_owned();
        let refused = request(&in_force, &question).unwrap_err();
        assert!(
            matches!(&refused, ApiError::Invalid(text) if text.starts_with("The URL") && text.ends_with('.'))
        );
        let of_packet = packet::Question {
            from: "198.51.100.7:40000".parse().unwrap(),
            to: "203.0.113.10:80".parse().unwrap(),
            protocol: crate::config::snapshot::Transport::Tcp,
            flags: packet::Flags::Syn,
        };
        let refused = packet(&in_force, &of_packet).unwrap_err();
        assert!(
            matches!(&refused, ApiError::Conflict(text) if text.contains("steers nothing")),
            "{refused:?}"
        );
    }
}
