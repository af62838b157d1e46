//! Files of names with a secret each: one a line, a colon between; `#` begins a comment.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use http::HeaderValue;

use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::config::validate::node::existing_name;

/// What is wrong with a file, and what to do.
pub(super) type Wrong = (String, String);

/// What a file holds, by `read`; what is wrong with it stands in `problems` afterwards, and `None` here.
pub(super) fn of<T>(
    file: Option<&PathBuf>,
    path: &KeyPath,
    problems: &mut Problems<'_>,
    read: impl Fn(&Path) -> Result<T, Wrong>,
) -> Option<T> {
    let file = existing_name(file?, path, problems)?;
    match read(&file) {
        Ok(content) => Some(content),
        Err((fault, remedy)) => {
            problems.add(path, format!("{} {fault}", file.display()), remedy);
            None
        }
    }
}

/// The lines of a file, each by `read`.
///
/// # Errors
/// What is wrong with it; the text has nothing of the secrets.
pub(super) fn lines<T>(
    file: &Path,
    make: &str,
    read: impl Fn(HeaderValue, &str) -> Result<T, &'static str>,
) -> Result<Vec<T>, Wrong> {
    parsed(&text(file, Readers::Own)?, make, read)
}

fn parsed<T>(
    text: &str,
    make: &str,
    read: impl Fn(HeaderValue, &str) -> Result<T, &'static str>,
) -> Result<Vec<T>, Wrong> {
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |fault: &str| {
            (
                format!("line {}: {fault}", index + 1),
                format!("make it with: {make}"),
            )
        };
        let (name, secret) = line.split_once(':').ok_or_else(|| wrong("has no colon"))?;
        let is_plain = |byte: u8| (0x21..0x7f).contains(&byte);
        let is_name = (1..=limits::NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(is_plain);
        let value = HeaderValue::from_str(name).ok().filter(|_| is_name);
        let value = value.ok_or_else(|| wrong("has no name of 1 to 63 printable ASCII characters"))?;
        lines.push(read(value, secret).map_err(|fault| wrong(&format!("the secret of {name} {fault}")))?);
        if lines.len() > limits::SECRETS_MAX {
            let remedy = format!("have at most {}", limits::SECRETS_MAX);
            return Err(("has too many lines".to_owned(), remedy));
        }
    }
    if lines.is_empty() {
        return Err((
            "names nobody: all would be refused".to_owned(),
            format!("add a line with: {make}"),
        ));
    }
    Ok(lines)
}

/// Who may read a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Readers {
    /// No other user of the machine.
    Own,
    /// Anybody: there is nothing secret in it.
    All,
}

/// The text of a file.
///
/// # Errors
/// Why it cannot be had.
pub(super) fn text(file: &Path, readers: Readers) -> Result<String, Wrong> {
    let unreadable = |error: std::io::Error| {
        let remedy = "write the path of a file that the user who runs gateway may read";
        (format!("cannot be read: {error}"), remedy.to_owned())
    };
    let opened = File::open(file).map_err(unreadable)?;
    let meta = opened.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err(("is not a file".to_owned(), "write the path of a file".to_owned()));
    }
    let mode = meta.permissions().mode() & 0o777;
    if readers == Readers::Own && mode & 0o007 != 0 {
        let remedy = format!("take it from others with: chmod o= {}", file.display());
        return Err((
            format!("has mode {mode:04o}: every user of this machine may read it"),
            remedy,
        ));
    }
    let mut text = String::new();
    let mut bounded = opened.take(limits::SECRETS_BYTES_MAX + 1);
    bounded.read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > limits::SECRETS_BYTES_MAX {
        let fault = format!("has more than {} bytes", limits::SECRETS_BYTES_MAX);
        return Err((fault, "make it smaller".to_owned()));
    }
    Ok(text)
}
