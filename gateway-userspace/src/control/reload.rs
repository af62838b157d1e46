//! A change of configuration: load, validate, compile, open the sockets, then publish; or refuse, and change nothing.

use std::sync::Arc;
use std::time::SystemTime;

use super::controller::Controller;
use crate::admin::ApiError;
use crate::admin::status::{NodeState, RefusedReload};
use crate::background;
use crate::config::answers::Answers;
use crate::config::snapshot::Snapshot;
use crate::config::{self, Settings};

impl Controller {
    /// Reads the configuration anew and publishes it; the number of the new snapshot.
    ///
    /// # Errors
    /// The configuration is refused, wants a restart, or its sockets cannot be opened; the old one stays in force.
    pub async fn reload(&mut self) -> Result<u64, ApiError> {
        if self.state == NodeState::Leaving {
            return Err(ApiError::Conflict("the node is stopping".to_owned()));
        }
        let result = self.try_reload().await;
        self.last_refused = match &result {
            Ok(_) => None,
            Err(error) => {
                tracing::warn!(reason = %error, "the new configuration is refused, the old one stays");
                Some(RefusedReload::new(SystemTime::now(), error.to_string()))
            }
        };
        result
    }

    async fn try_reload(&mut self) -> Result<u64, ApiError> {
        let source = self.parts.settings.source.clone();
        let file = source.clone();
        let loaded = self.meanwhile(background::run(move || config::load(&file))).await;
        let settings: Settings = loaded
            .map_err(failed)?
            .map_err(|refused| ApiError::Refused(refused.to_string()))?;
        let needs_restart = self.parts.settings.restart_needed(&settings);
        if !needs_restart.is_empty() {
            return Err(ApiError::Refused(format!(
                "{}: {} cannot change while the node runs: restart it, or undo the change",
                source.display(),
                needs_restart.join(", ")
            )));
        }
        self.parts.names.prepare(&settings);
        self.await_names().await;
        let next = self.put_in_force(&settings).await;
        // Of a refused configuration, nothing is asked for any longer.
        let kept = if next.is_ok() {
            &settings
        } else {
            &self.parts.settings
        };
        self.parts.names.apply(kept);
        let next = next?;
        self.registrations.keep(&settings);
        self.certificates.follow(&settings);
        self.parts.settings = settings;
        tracing::info!(snapshot = next.number, config = %source.display(), "the new configuration is in force");
        Ok(next.number)
    }

    /// Drops what no worker needs any more, on a thread that has nothing else to do.
    pub(super) fn drop_old_snapshots(&self) {
        let left = self.parts.workers.left_behind();
        if !left.is_empty() {
            drop(tokio::spawn(background::run(move || drop(left))));
        }
    }

    /// Makes a snapshot of those settings and what names resolve to now, and publishes it.
    ///
    /// # Errors
    /// Its sockets cannot be opened, or the kernel's tables not be written; the old one stays in force.
    pub(super) async fn put_in_force(&mut self, settings: &Settings) -> Result<Arc<Snapshot>, ApiError> {
        let old = self.snapshot();
        let mut answers = self.parts.names.answers();
        answers.registered = self.registrations.all();
        let (registered, number) = (self.registrations.number(), answers.number);
        let next = self.compile(settings.clone(), answers, old.number + 1).await?;
        let prepared = self.parts.workers.prepare(&next).map_err(failed)?;
        // The new sockets queue already: the kernel may steer to them. Removed ones close only after it stopped to.
        let view = self.view();
        if let Some(dataplane) = self.parts.dataplane.as_mut()
            && view.number > 0
            && let Err(error) = dataplane.publish(&next, &view).await
        {
            if let Err(also) = dataplane.publish(&old, &view).await {
                tracing::error!(
                    error = &also as &dyn std::error::Error,
                    "the old tables cannot be restored"
                );
            }
            return Err(failed(error));
        }
        self.parts.workers.commit(prepared, Arc::clone(&next));
        self.parts.checks.apply(&next);
        self.parts.guards.apply(&next);
        self.parts.keys.apply(&next);
        self.parts.acme.apply(settings.acme.as_ref());
        if let Some(cluster) = &self.parts.cluster {
            cluster.set_weight(next.node.weight);
        }
        self.tell_served(&next.vips);
        self.parts.answers = number;
        self.registered = registered;
        self.announce(&view);
        Ok(next)
    }

    /// Makes a snapshot; meanwhile this node follows views and neighbours as ever.
    async fn compile(
        &mut self,
        settings: Settings,
        answers: Answers,
        number: u64,
    ) -> Result<Arc<Snapshot>, ApiError> {
        let registry = Arc::clone(&self.parts.registry);
        let compile = move || Arc::new(config::compile(&settings, &registry, &answers, number));
        self.meanwhile(background::run(compile)).await.map_err(failed)
    }
}

pub(super) fn failed(error: impl std::error::Error + Send + Sync + 'static) -> ApiError {
    ApiError::Failed(format!("{:#}", anyhow::Error::from(error)))
}
