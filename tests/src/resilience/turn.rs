//! One turn from beginning to end.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::fault::Fault;
use super::figures::Figures;
use super::load::{self, Plan};
use super::scene::Scene;
use super::subject::{self, Running, Start, Subject};
use crate::lab::netns::block_on;

/// Load before a turn that does not count: pools fill, checks have their rounds.
const WARM_UP: Duration = Duration::from_secs(2);

/// From an order to load until its first request is due.
const LEAD: Duration = Duration::from_millis(50);

/// What a turn is made of.
#[derive(Clone, Debug)]
pub struct Turn {
    /// What goes wrong.
    pub fault: Fault,
    /// Whom it is put behind.
    pub subject: Subject,
    /// That proxy's program.
    pub program: PathBuf,
    /// Where the files in `tests/bench/resilience` are.
    pub templates: PathBuf,
    /// Where the proxy's files go.
    pub folder: PathBuf,
    /// Requests a second.
    pub rate: u32,
    /// How long: the fault has its second and third quarter.
    pub length: Duration,
    /// The core that the proxy has for itself; what else runs is up to whoever started this process.
    pub core: Option<usize>,
}

impl Turn {
    /// Plays it.
    ///
    /// # Errors
    /// When something of it cannot be had, or the proxy ends.
    pub fn play(&self) -> Result<Figures> {
        let asks = self.fault.asks();
        let mut scene = Scene::set(self.fault.well())?;
        let start = Start {
            subject: self.subject,
            program: &self.program,
            templates: &self.templates,
            folder: &self.folder,
            core: self.core,
        };
        let mut proxy = Running::start(&start, scene.near(), asks)?;
        let plan = |length| Plan {
            proxy: subject::proxy(asks),
            asks,
            rate: self.rate,
            start: Instant::now() + LEAD,
            length,
        };
        let warm_up = plan(WARM_UP);
        scene
            .near()
            .run(move || block_on(load::run(warm_up)))?
            .context("warming up")?;
        let plan = plan(self.length);
        let clients = scene.near().spawn("clients", move || block_on(load::run(plan)))?;
        let begin = self.length / 4;
        for (time, deed) in self.fault.deeds(self.length / 2) {
            let due = plan.start + begin + time;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            scene.act(deed).with_context(|| format!("{deed:?}"))?;
        }
        let samples = clients
            .join()
            .map_err(|_| anyhow!("the clients' thread panicked"))??;
        proxy.check()?;
        drop(proxy);
        scene.end()?;
        Figures::of(&samples, begin).context("no request was sent")
    }
}
