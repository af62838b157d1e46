//! A check by a command on this node: exit status 0 passes.
//!
//! It gets no input, no secrets of this process's environment, and a process group of its own, which is killed whole
//! when the check is over before it is.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

use super::super::reason::shown;
use super::{Fault, Question};

/// Where commands find other programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Bytes that are kept of what it writes: its first line goes into the reason. The rest is read and dropped, so that it
/// is not held up by a full pipe.
const OUTPUT_BYTES_MAX: usize = 512;
/// How long the output is waited for after the command has ended: what it left behind may hold the pipe for ever.
const OUTPUT_WAIT: Duration = Duration::from_millis(100);

/// Runs the command once.
///
/// # Cancel safety
/// May be dropped: its process group is killed.
pub(super) async fn run(question: &Question, program: &Path, arguments: &[String]) -> Result<(), Fault> {
    let target = question.check.target(question.endpoint);
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("GATEWAY_UPSTREAM", &question.upstream)
        .env("GATEWAY_CHECK", question.kind.word())
        .env("GATEWAY_ENDPOINT", target.to_string())
        .env("GATEWAY_ENDPOINT_ADDRESS", target.ip().to_string())
        .env("GATEWAY_ENDPOINT_PORT", target.port().to_string())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(Fault::Spawn)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // Dropped before the child, so that the group still has its leader.
    let group = Group(child.id());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = {
        let mut read = std::pin::pin!(async {
            tokio::join!(keep_first(stdout, &mut out), keep_first(stderr, &mut err));
        });
        tokio::select! {
            () = &mut read => child.wait().await,
            status = child.wait() => {
                // Late output is worth no more than this wait.
                drop(timeout(OUTPUT_WAIT, &mut read).await);
                status
            }
        }
    };
    group.has_ended();
    let status = status.map_err(Fault::Spawn)?;
    if status.success() {
        return Ok(());
    }
    let output = [out, err]
        .iter()
        .map(|bytes| shown(bytes))
        .find(|line| !line.is_empty());
    Err(Fault::Command {
        status,
        output: output.map_or_else(String::new, |line| format!(": {line}")),
    })
}

/// Reads to the end, keeps the first bytes.
async fn keep_first(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = [0; OUTPUT_BYTES_MAX];
    // A pipe that breaks has ended.
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        let free = OUTPUT_BYTES_MAX.saturating_sub(kept.len());
        kept.extend(buffer.iter().take(count.min(free)));
    }
}

/// A process group that is killed unless its leader has ended by itself.
struct Group(Option<u32>);

impl Group {
    /// The leader is reaped: its number may be another's soon.
    fn has_ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(leader) = self.0.and_then(|id| i32::try_from(id).ok()) else {
            return;
        };
        if let Err(error) = killpg(Pid::from_raw(leader), Signal::SIGKILL) {
            tracing::warn!(%error, "the command of a check cannot be killed");
        }
    }
}
