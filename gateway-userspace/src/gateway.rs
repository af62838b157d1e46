//! The running node: starts its parts in order, and stops them in order.

use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use prometheus_client::registry::Registry as Metrics;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

use crate::acme::Issuer;
use crate::cluster::Cluster;
use crate::cluster::announce::Announcer;
use crate::config::denied::Denied;
use crate::config::snapshot::{Announce, Snapshot};
use crate::config::{self, Settings};
use crate::control::command::COMMANDS_MAX;
use crate::control::health::Reasons;
use crate::control::{Controller, Ended, Handle, Parts, deny};
use crate::events::Events;
use crate::guards::Driver;
use crate::health::Checks;
use crate::jwks::Fetcher;
use crate::l4::DataPlane;
use crate::l4::pins::Lock;
use crate::l7::{Shared, Workers};
use crate::names::{FirstAnswers, Names};
use crate::registry::Registry;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::logging;
use crate::view::{Served, View};
use crate::{acme, admin, allocator, cluster, health, l4, l7, names};

/// How long the last access-log lines may take to be written.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Runs a node until it is told to stop by SIGTERM or SIGINT.
///
/// This thread is the control thread; workers, heartbeats and the announcer have theirs.
///
/// # Errors
/// A refused configuration ([`config::Refused`]), or whatever keeps the node from running; nothing is left behind then.
pub fn run(config: &Path) -> Result<()> {
    let settings = config::load_to_start(config)?;
    allocator::give_back();
    // Until the end: it writes what is left of the log.
    let _log = logging::init()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot make the control thread's runtime")?;
    runtime.block_on(serve(settings))
}

async fn serve(settings: Settings) -> Result<()> {
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    // First, and until the end: one process at a time is this node.
    let held = match &settings.dataplane {
        Some(config) => tokio::select! {
            held = Lock::take(&config.pin_directory, &settings.node.name) => Some(held?),
            () = signals.stop() => return Ok(()),
        },
        None => None,
    };
    let events = Events::default();
    let registry = Arc::new(Registry::new(events.clone()));
    let names = Names::start(tokio::runtime::Handle::current());
    names.apply(&settings);
    if let FirstAnswers::Late(missing) = names.first_answers().await {
        tracing::warn!(missing, "starting without the addresses of some host names");
    }
    let answers = names.answers();
    let snapshot = Arc::new(config::compile(&settings, &registry, &answers, 1));
    let token = admin::Token::load_or_make(&snapshot.admin.token_file)?;
    let admin_socket = admin::bind(&snapshot.admin.listen)?;
    let access_log = Arc::new(AccessLog::stdout().context("cannot start the access log")?);
    let shared = Shared::new(Arc::clone(&snapshot), Arc::clone(&access_log));
    let workers = Workers::start(Arc::clone(&shared)).context("cannot start the workers")?;
    let prepared = workers.prepare(&snapshot)?;
    // Views come from the cluster, or there is one for ever; its sender must live as long.
    // Zero is who is no member.
    let incarnation = rand::random::<NonZero<u32>>().get();
    let (_alone, alone) = watch::channel(Arc::new(View::alone(&snapshot.node, incarnation)));
    let (cluster, views) = match &snapshot.cluster {
        Some(config) => {
            let (cluster, views) =
                Cluster::start(config, &snapshot.node, Served::by(&snapshot.vips), incarnation)?;
            (Some(cluster), views)
        }
        None => (None, alone),
    };
    let announcer = announcer(&snapshot)?;
    let denied = Arc::new(Denied::load(&snapshot.admin.denied_file)?);
    // A start that fails is told beside what may be the cause.
    if let Some(asked) = l4::host::Asked::by_snapshot(&snapshot) {
        let facts = l4::host::look::look(&asked).await?;
        l4::host::log(&l4::host::judge::judge(&asked, &facts));
    }
    // The kernel's side last: whatever fails before leaves nothing in the kernel.
    let dataplane = match (&snapshot.dataplane, &held) {
        (Some(config), Some(held)) => Some(DataPlane::start(config, held.pins()).await?),
        _ => None,
    };
    if let Some(dataplane) = &dataplane {
        deny::deny_kept(&denied, dataplane)?;
    }
    workers.commit(prepared, Arc::clone(&snapshot));
    let checks = Checks::start(tokio::runtime::Handle::current(), events.clone());
    checks.apply(&snapshot);
    let guards = Driver::start(&tokio::runtime::Handle::current());
    guards.apply(&snapshot);
    let keys = Fetcher::start(tokio::runtime::Handle::current(), names.asker());
    keys.apply(&snapshot);
    let runtime = tokio::runtime::Handle::current();
    let acme = Issuer::start(runtime, names.asker(), events.clone(), registry.acme_thumbprint());
    acme.apply(settings.acme.as_ref());

    let mut metrics = Metrics::default();
    l7::register_metrics(&mut metrics, &shared);
    health::register_metrics(&mut metrics, &checks);
    names::register_metrics(&mut metrics, &names);
    acme::register_metrics(&mut metrics, &acme);
    if let Some(dataplane) = &dataplane {
        l4::register_metrics(&mut metrics, dataplane);
    }
    cluster::register_metrics(&mut metrics, views.clone());
    let (sender, mut commands) = mpsc::channel(COMMANDS_MAX);
    let reasons = Arc::new(Reasons::default());
    let handle = Arc::new(Handle {
        commands: sender,
        reasons: Arc::clone(&reasons),
        events: events.clone(),
        metrics,
    });
    let (stop_admin, admin_stopped) = oneshot::channel::<()>();
    let admin = tokio::spawn(admin::serve(admin_socket, token, handle, async {
        // Ends with the message or with its sender: either way the node stops.
        drop(admin_stopped.await);
    }));
    tracing::info!(
        node = snapshot.node.name,
        snapshot = snapshot.number,
        "the node has started"
    );

    let parts = Parts {
        settings,
        registry,
        names,
        answers: answers.number,
        shared,
        workers,
        checks,
        guards,
        keys,
        acme,
        dataplane,
        denied,
        cluster,
        announcer,
        views,
    };
    let mut controller = Controller::new(parts, reasons, events);
    let ended = controller.run(&mut commands, signals.stop()).await;
    if let Ended::Broken(why) = ended {
        tracing::error!(why, "the node stops, so that another takes over");
    }
    let drained = controller.stop(&mut commands, signals.stop()).await;
    drop(stop_admin);
    if let Err(error) = admin.await.context("the admin API ended early")? {
        tracing::warn!(%error, "the admin API did not end well");
    }
    access_log.flush(FLUSH_LIMIT);
    tracing::info!(
        finished = drained.finished,
        cut = drained.cut,
        "the node has stopped"
    );
    Ok(())
}

/// Who answers for the VIPs, where this node is to.
fn announcer(snapshot: &Snapshot) -> Result<Option<Announcer>> {
    let announces = snapshot
        .cluster
        .as_ref()
        .is_some_and(|cluster| cluster.announce == Announce::Vip);
    match &snapshot.dataplane {
        Some(dataplane) if announces => {
            // Checked here, for this comes first and its error would name the socket.
            let mut found = dataplane
                .interfaces
                .iter()
                .map(|name| l4::interfaces::index(name));
            if !found.any(|index| index.is_ok())
                && let Some(name) = dataplane.interfaces.first()
            {
                l4::interfaces::index(name)?;
            }
            Ok(Some(Announcer::start(&dataplane.interfaces)?))
        }
        _ => Ok(None),
    }
}

/// The signals that a node obeys.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Ready when the node is told to stop. A hang-up is no such order: the access log goes to standard output, which
    /// has nothing to reopen.
    async fn stop(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return tracing::info!("SIGTERM: stopping"),
                _ = self.interrupt.recv() => return tracing::info!("SIGINT: stopping"),
                _ = self.hang_up.recv() => tracing::info!("SIGHUP: there is no log file to reopen"),
            }
        }
    }
}
