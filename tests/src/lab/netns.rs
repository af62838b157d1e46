//! Network namespaces with names, and threads that live inside them.
//!
//! A namespace is named as `ip netns` does it, by a file in `/run/netns` that its handle is mounted on, so that
//! `nsenter --net=/run/netns/NAME` gets in. Only the network is entered: `/sys/fs/bpf` must stay in sight.

use std::fs::{self, File};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

/// Where named namespaces lie, here and for `ip netns`.
pub const NETNS_DIRECTORY: &str = "/run/netns";

/// Jobs that may wait for a namespace's thread; each caller waits for its own, so more is never needed.
const JOBS_MAX: usize = 64;

type Job = Box<dyn FnOnce() + Send>;

/// Whether a namespace can be found by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    /// In [`NETNS_DIRECTORY`], until it is removed there.
    Yes,
    /// Not at all.
    No,
}

/// A network namespace, with one thread that lives in it.
///
/// Processes and threads started from within [`Namespace::run`] live there too. The thread ends with the
/// `Namespace`, not before: a child with a parent-death signal is tied to the thread that started it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    path: PathBuf,
    named: Named,
    jobs: Option<mpsc::SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Namespace {
    /// Makes a new namespace of that name, and its thread.
    ///
    /// # Errors
    /// Without the rights of root, and where the name is taken.
    pub fn create(name: &str) -> Result<Self> {
        let path = path_of(name);
        fs::create_dir_all(NETNS_DIRECTORY).with_context(|| format!("create {NETNS_DIRECTORY}"))?;
        File::create_new(&path).with_context(|| format!("create {}", path.display()))?;
        Self::make(name, Named::Yes, path)
    }

    /// Makes a new namespace that only this process knows: whatever becomes of the process, nothing of it is left.
    ///
    /// `label` is the name of its thread.
    ///
    /// # Errors
    /// Without the rights of root.
    pub fn create_nameless(label: &str) -> Result<Self> {
        Self::make(label, Named::No, PathBuf::new())
    }

    fn make(name: &str, named: Named, path: PathBuf) -> Result<Self> {
        let (jobs, inbox) = mpsc::sync_channel::<Job>(JOBS_MAX);
        let (made, outcome) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let entered = match named {
                    Named::Yes => unshare_and_name(&path).map(|()| path),
                    Named::No => unshare(CloneFlags::CLONE_NEWNET)
                        .context("unshare the network")
                        .map(|()| path_of_thread()),
                };
                let failed = entered.is_err();
                if made.send(entered).is_err() || failed {
                    return;
                }
                for job in inbox {
                    job();
                }
            })
            .with_context(|| format!("start the thread of namespace {name}"))?;
        let mut namespace = Self {
            name: name.to_owned(),
            path: PathBuf::new(),
            named,
            jobs: Some(jobs),
            thread: Some(thread),
        };
        namespace.path = outcome
            .recv()
            .map_err(|_| anyhow!("the thread of namespace {name} ended early"))?
            .with_context(|| format!("create network namespace {name} (are you root?)"))?;
        Ok(namespace)
    }

    /// Its name below [`NETNS_DIRECTORY`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// Runs `job` on the namespace's own thread and waits for it.
    ///
    /// # Panics
    /// With what `job` panicked with.
    ///
    /// # Errors
    /// Only where the thread is gone.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (give, take) = mpsc::sync_channel(1);
        let boxed: Job = Box::new(move || {
            let outcome = catch_unwind(AssertUnwindSafe(job));
            // The caller waits below; it cannot be gone.
            drop(give.send(outcome));
        });
        let gone = || anyhow!("the thread of namespace {} is gone", self.name);
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(boxed).map_err(|_| gone())?;
        match take.recv().map_err(|_| gone())? {
            Ok(value) => Ok(value),
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Runs the future that `job` makes on a runtime of its own, on the namespace's own thread.
    ///
    /// # Errors
    /// Those of the job, and where no runtime can be made.
    pub fn run_async<T, F>(&self, job: impl FnOnce() -> F + Send + 'static) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>>,
    {
        self.run(move || block_on(job()))?
    }

    /// Starts a further thread in the namespace, for what runs long.
    ///
    /// # Errors
    /// Where the thread cannot be started.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &str,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>> {
        let builder = thread::Builder::new().name(name.to_owned());
        self.run(move || builder.spawn(job))?
            .with_context(|| format!("start thread {name} in namespace {}", self.name))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A job's panic was handed to its caller already.
            drop(thread.join());
        }
        if self.named == Named::Yes
            && let Err(error) = remove(&self.name)
        {
            eprintln!("lab: {error:#}");
        }
    }
}

/// Runs a future on a new single-threaded runtime on this thread.
///
/// # Errors
/// Those of the future, and where no runtime can be made.
pub fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a tokio runtime")?
        .block_on(future)
}

/// Moves the calling thread, and what it starts, into the namespace of that name.
///
/// # Errors
/// Where there is none of that name, or without the rights of root.
pub fn enter(name: &str) -> Result<()> {
    let path = path_of(name);
    let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
    setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter network namespace {name}"))
}

/// Removes a namespace's name; the namespace itself goes with its last process and socket.
///
/// # Errors
/// Where unmounting or unlinking fails; a name that is not there is no error.
pub fn remove(name: &str) -> Result<()> {
    let path = path_of(name);
    match umount2(&path, MntFlags::MNT_DETACH) {
        // EINVAL: a file that nothing was mounted on yet.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(error) => return Err(error).with_context(|| format!("unmount {}", path.display())),
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// All names in [`NETNS_DIRECTORY`] that begin with `prefix`.
///
/// # Errors
/// Where the directory is there but cannot be read.
pub fn names_with(prefix: &str) -> Result<Vec<String>> {
    let entries = match fs::read_dir(NETNS_DIRECTORY) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("read {NETNS_DIRECTORY}"))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry
            .with_context(|| format!("read {NETNS_DIRECTORY}"))?
            .file_name();
        if let Some(name) = name.to_str().filter(|name| name.starts_with(prefix)) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

fn path_of(name: &str) -> PathBuf {
    Path::new(NETNS_DIRECTORY).join(name)
}

/// The file that stands for the namespace of the calling thread, as long as that lives.
fn path_of_thread() -> PathBuf {
    PathBuf::from(format!("/proc/self/task/{}/ns/net", nix::unistd::gettid()))
}

fn unshare_and_name(path: &Path) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("unshare the network")?;
    mount(
        Some("/proc/thread-self/ns/net"),
        path,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .with_context(|| format!("mount the namespace on {}", path.display()))
}
