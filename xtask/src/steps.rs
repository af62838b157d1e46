//! Steps as a person sees them: each is named before it runs, streams what it prints, and ends with its time.
//!
//! Everything goes to standard error, where cargo and rustup write too, so that the order on the screen is the
//! order in which things happened. Deciding which step comes next is left to the callers.

use std::ffi::OsStr;
use std::io::{IsTerminal, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

/// How often a child with a time limit is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Longest wait for a program that only answers a question about itself, such as `rustc -vV`.
///
/// Far above what it takes on a busy machine; a rustup proxy that wants the network must not hang the build.
pub const QUESTION_LIMIT: Duration = Duration::from_secs(20);

/// Runs `work` under a heading, and prints how long it took.
///
/// # Errors
/// What `work` returns, with the heading as context.
pub fn step<T>(heading: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let (bold, plain) = if colours() {
        ("\x1b[1m", "\x1b[0m")
    } else {
        ("", "")
    };
    eprintln!("{bold}==> {heading}{plain}");
    let start = Instant::now();
    let result = work();
    let word = if result.is_ok() { "done" } else { "failed" };
    eprintln!("    {word} in {:.1} s", start.elapsed().as_secs_f64());
    result.with_context(|| format!("step failed: {heading}"))
}

/// Prints one line that belongs to the current step.
pub fn note(text: &str) {
    eprintln!("    {text}");
}

/// True where colours help: standard error is a terminal, and `NO_COLOR` is not set.
pub fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Runs a command whose output streams through; says the command line first.
///
/// # Errors
/// When it cannot start or does not succeed.
pub fn run(command: &mut Command) -> Result<()> {
    note(&format!("$ {}", shown(command)));
    let status = command.status().with_context(|| cannot_start(command))?;
    succeeded(command, status)
}

/// As [`run`], but the command is ended when it takes longer than `limit`.
///
/// # Errors
/// When it cannot start, does not succeed, or is too slow.
pub fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    note(&format!("$ {}", shown(command)));
    let mut child = command.spawn().with_context(|| cannot_start(command))?;
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return succeeded(command, status);
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            bail!(
                "`{}` was ended: it took longer than {} s",
                shown(command),
                limit.as_secs()
            );
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// Asks a program a question quietly: its standard output, within [`QUESTION_LIMIT`].
///
/// # Errors
/// When it cannot start, does not succeed (its last line of standard error is quoted), or is too slow.
pub fn ask(command: &mut Command) -> Result<String> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // A complaint, not a backtrace below it, says what is wrong.
    command.env("RUST_BACKTRACE", "0");
    let mut child = command.spawn().with_context(|| cannot_start(command))?;
    // Both pipes are read by threads of their own: a full pipe would stop the child for ever.
    let output = child.stdout.take().map(reader);
    let complaint = child.stderr.take().map(reader);
    let deadline = Instant::now() + QUESTION_LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            bail!(
                "`{}` gave no answer within {} s",
                shown(command),
                QUESTION_LIMIT.as_secs()
            );
        }
        thread::sleep(POLL_INTERVAL);
    };
    let output = joined(output)?;
    if status.success() {
        return Ok(output);
    }
    let complaint = joined(complaint)?;
    bail!("`{}` ended with {status}: {}", shown(command), said(&complaint))
}

/// A command line as one would type it, without its environment.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// The line that says most: the last that is marked as an error, else the last.
fn said(complaint: &str) -> &str {
    let mut lines = complaint
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .rev();
    let last = lines.clone().next().unwrap_or("no message");
    lines.find(|line| line.starts_with("error")).unwrap_or(last)
}

fn reader(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<std::io::Result<String>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    })
}

fn joined(handle: Option<thread::JoinHandle<std::io::Result<String>>>) -> Result<String> {
    let Some(handle) = handle else {
        return Ok(String::new());
    };
    let text = handle
        .join()
        .map_err(|_| anyhow!("the thread that read a child's output panicked"))?;
    text.context("reading a child's output")
}

fn cannot_start(command: &Command) -> String {
    format!(
        "`{}` could not be started: is it installed and on PATH?",
        command.get_program().to_string_lossy()
    )
}

fn succeeded(command: &Command, status: ExitStatus) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    bail!("`{}` ended with {status}", shown(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_returned_and_a_refusal_quotes_the_complaint() {
        let answer = ask(Command::new("sh").args(["-c", "echo 42"])).unwrap();
        assert_eq!(answer, "42\n");
        let refusal = ask(Command::new("sh").args(["-c", "echo first >&2; echo no such thing >&2; exit 3"]));
        assert!(refusal.unwrap_err().to_string().ends_with("no such thing"));
    }

    #[test]
    fn the_marked_line_of_a_complaint_is_quoted_before_the_last() {
        assert_eq!(said("info: a\nerror: b\n\nhelp: c\n"), "error: b");
        assert_eq!(said("a\nb\n\n"), "b");
        assert_eq!(said(""), "no message");
    }

    #[test]
    fn a_slow_command_is_ended_at_its_limit() {
        let start = Instant::now();
        let error = run_within(Command::new("sleep").arg("30"), Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("longer than"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&mut Command::new("no-such-program-here")).unwrap_err();
        assert!(error.to_string().contains("no-such-program-here"), "{error}");
    }
}
