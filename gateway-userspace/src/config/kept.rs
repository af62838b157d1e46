//! Routes that the admin API set, and the file in which they outlive the process.
//!
//! The file is TOML with `[[route]]` tables, as anybody would write them: it is read by the same code as the
//! configuration's, its problems have lines, and what should stay for good can be moved from it to the configuration.
//! It is written whole, beside its place, and then put there by one rename: after a crash there is the old or the new one.

mod written;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::document::{Document, Foreign};
use super::limits;
use super::path::KeyPath;
use super::problem::{Problem, Problems, Refused};
use super::settings::{Origin, RouteSettings, Settings};
use super::shape;
use super::validate::added;

/// Bytes of a version: half of a SHA-256, so that two contents never share one by chance.
const VERSION_BYTES: usize = 16;

/// What stands above the routes.
const HEAD: &str = "# Routes set by the admin API (`gateway routes set`). This file is written by the gateway.\n\
                    # It may be changed while no gateway runs; `gateway check` says whether it fits the configuration.\n";

/// The routes that are kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// Where.
    pub file: PathBuf,
    /// The file's text; empty where there is none.
    pub text: Arc<str>,
    /// Names, and what each says, in the order in which they were first set.
    routes: Vec<(String, Value)>,
}

/// What a route says, in short: the same for the same content, on every node and after a restart.
pub fn version(route: &Value) -> String {
    let digest = Sha256::digest(route.to_string().as_bytes());
    let bytes = digest.iter().take(VERSION_BYTES);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

impl Kept {
    /// What a route says, as it was set.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.routes
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, route)| route)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.routes.len()
    }

    /// With that route in the place of one of its name, or as the last one.
    #[must_use]
    pub fn with(&self, name: &str, route: Value) -> Self {
        let mut routes = self.routes.clone();
        match routes.iter_mut().find(|(known, _)| known == name) {
            Some((_, held)) => *held = route,
            None => routes.push((name.to_owned(), route)),
        }
        self.of(routes)
    }

    /// Without the route of that name.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        let routes = self.routes.iter().filter(|(known, _)| known != name);
        self.of(routes.cloned().collect())
    }

    fn of(&self, routes: Vec<(String, Value)>) -> Self {
        let tables = routes.iter().map(|(_, route)| written::table(route));
        let text: String = std::iter::once(HEAD.to_owned()).chain(tables).collect();
        Self {
            file: self.file.clone(),
            text: text.into(),
            routes,
        }
    }

    /// Writes the file: whole, or not at all.
    ///
    /// Blocks on the file system: not for a worker thread.
    ///
    /// # Errors
    /// What the file system says.
    pub fn store(&self) -> io::Result<()> {
        write_whole(&self.file, &self.text)
    }
}

/// Writes a file that its owner alone may read: whole, or not at all.
///
/// # Errors
/// What the file system says.
pub fn write_whole(file: &Path, text: &str) -> io::Result<()> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    let mut options = OpenOptions::new();
    // One that a crash left behind is written over.
    let opened = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished);
    let written = opened.and_then(|mut opened| {
        opened.write_all(text.as_bytes())?;
        opened.sync_all()
    });
    written.and_then(|()| fs::rename(&unfinished, file))?;
    // The rename itself must outlive a loss of power.
    File::open(directory)?.sync_all()
}

/// The settings of a file, with the routes that are kept beside it.
///
/// # Errors
/// The file of the routes cannot be read, or what it says does not fit the settings: every problem.
pub fn merged(settings: Settings) -> Result<Settings, Refused> {
    let file = settings.admin.routes_file.clone();
    let text = read(&file, "admin.routes_file")?;
    let (document, value, foreign) = Document::parse(&file, &text)?;
    let document = document.beside(&settings.source);
    let mut problems = Problems::new(&document);
    report(foreign, &mut problems);
    let routes = value
        .get("route")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let given = shape::read_routes(value, &mut problems);
    let mut merged = settings;
    let mut kept = Vec::new();
    for (index, given) in given
        .iter()
        .flat_map(|given| given.route.iter().flatten())
        .enumerate()
    {
        let path = KeyPath::top("route").index(index);
        let Some(route) = added(given, &path, &merged, &mut problems) else {
            continue;
        };
        match merged.route(&route.name).map(|other| other.origin) {
            Some(Origin::File(number, line)) => {
                let problem = set_twice(&merged, &route, (number, line), &document, &path);
                problems.add_elsewhere(problem);
            }
            Some(Origin::Api) => {
                let fault = format!("\"{}\" is the name of another route here already", route.name);
                problems.add(&path.key("name"), fault, "remove one of the two");
            }
            None => {
                kept.extend(routes.get(index).map(|value| (route.name.clone(), value.clone())));
                let all = merged.routes.iter().chain([&route]).cloned().collect();
                merged = merged.with_routes(all, Arc::default());
            }
        }
    }
    if routes.len() > limits::ROUTES_SET_MAX {
        let fault = format!("{} routes are too many", routes.len());
        let most = limits::ROUTES_SET_MAX;
        problems.add(
            &KeyPath::top("route"),
            fault,
            format!("keep {most} here at most; the configuration has room for more"),
        );
    }
    problems.into_result()?;
    merged.kept = Arc::new(Kept {
        file,
        text: text.into(),
        routes: kept,
    });
    Ok(merged)
}

/// A name that the configuration has, too: which of the two is meant, only its operator knows.
fn set_twice(
    settings: &Settings,
    route: &RouteSettings,
    (number, line): (usize, usize),
    document: &Document,
    path: &KeyPath,
) -> Problem {
    let name = &route.name;
    let (file, at) = (document.file().display(), document.line(path));
    Problem {
        file: settings.source.clone(),
        line: Some(line),
        path: KeyPath::top("route").index(number).key("name"),
        fault: format!("\"{name}\" was set by the admin API as well ({file}:{at})"),
        remedy: format!(
            "remove it here, or there by `gateway routes delete {name}` (where no node runs, from that file)"
        ),
    }
}

/// Adds what no key takes.
pub fn report(foreign: Vec<Foreign>, problems: &mut Problems<'_>) {
    for value in foreign {
        problems.add(&value.path, value.fault, value.remedy);
    }
}

/// The text of a file that a key names; that of one that is not there is empty.
pub(super) fn read(path: &Path, key: &str) -> Result<String, Refused> {
    let refused = |fault: String| {
        let remedy = format!("make it readable for this user, or name another one with {key}");
        Refused::unreadable(path.to_owned(), fault, &remedy)
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(String::new());
        }
        Err(error) => return Err(refused(format!("cannot be read: {error}"))),
    };
    let mut text = String::new();
    let read = file.take(limits::FILE_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|error| refused(format!("cannot be read: {error}")))?;
    if text.len() as u64 > limits::FILE_BYTES_MAX {
        return Err(refused(format!(
            "is larger than {} bytes",
            limits::FILE_BYTES_MAX
        )));
    }
    Ok(text)
}

/// A route's values as the only one of a file.
pub fn alone(route: Value) -> Value {
    json!({ "route": [route] })
}

#[cfg(test)]
mod tests;
