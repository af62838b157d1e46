//! Routes that the admin API sets: judged as the file's are, kept for the next start, then put in force.
//!
//! A route of the file is the file's: it is changed there, so that what stands in it is what holds. A route that was set
//! here stays until it is deleted here, through reloads and restarts.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tokio::task::spawn_blocking;

use super::controller::Controller;
use super::reload::failed;
use crate::admin::ApiError;
use crate::admin::routes::{Change, Changed, From, OnlyIf, Order, Run, Shown};
use crate::admin::status::NodeState;
use crate::config::compile::{self, recompile};
use crate::config::document::{Document, Format};
use crate::config::kept::{self, Kept, version};
use crate::config::path::KeyPath;
use crate::config::problem::{Problems, nearest};
use crate::config::settings::{Origin, RouteSettings};
use crate::config::validate::added;
use crate::config::{Refused, Settings, limits, shape};

/// What messages call the text that came.
const BODY: &str = "body";

impl Controller {
    /// Sets a route, or deletes it. What it answers is in force for every request that begins after it.
    ///
    /// # Errors
    /// The file has a route of that name; it is not what the client takes it for; what it is to say has problems; it cannot be
    /// kept, or not be put in force. Nothing has changed then.
    pub(super) async fn change_route(&mut self, order: &Order) -> Result<Changed, ApiError> {
        if self.state == NodeState::Leaving {
            return Err(ApiError::Conflict("The node is stopping.".to_owned()));
        }
        let settings = &self.parts.settings;
        let held = held(order, settings)?;
        let next = match &order.says {
            Some((text, format)) => {
                let (route, value) = read(&order.name, text, *format, settings)
                    .map_err(|refused| ApiError::Refused(refused.to_string()))?;
                let version = version(&value);
                let change = match held {
                    None => Change::Added,
                    Some(held) if *held == value => Change::Unchanged,
                    Some(_) => Change::Changed,
                };
                let kept = settings.kept.with(&order.name, value);
                has_room(&kept)?;
                Next {
                    change,
                    version: Some(version),
                    settings: settings.with_routes(with(settings, route), Arc::new(kept)),
                }
            }
            None if held.is_none() => return Err(missing(&order.name, settings)),
            None => {
                let rest = settings.routes.iter().filter(|route| route.name != order.name);
                let kept = settings.kept.without(&order.name);
                Next {
                    change: Change::Deleted,
                    version: None,
                    settings: settings.with_routes(rest.cloned().collect(), Arc::new(kept)),
                }
            }
        };
        let is_done = order.run == Run::Dry || next.change == Change::Unchanged;
        let snapshot = if is_done {
            self.snapshot().number
        } else {
            self.put_routes_in_force(next.settings).await?
        };
        if !is_done {
            let change = next.change.word();
            tracing::info!(
                route = order.name,
                change,
                snapshot,
                "the admin API changed a route"
            );
        }
        Ok(Changed {
            name: order.name.clone(),
            change: next.change,
            version: next.version,
            snapshot,
            dry_run: order.run == Run::Dry,
        })
    }

    /// Keeps the routes, and puts them in force; they alone differ from those that are.
    async fn put_routes_in_force(&mut self, next: Settings) -> Result<u64, ApiError> {
        self.keep(&next.kept).await?;
        let old = self.snapshot();
        let mut answers = self.parts.names.answers();
        answers.registered = self.registrations.all();
        let change = compile::Change {
            old: &old,
            before: &self.parts.settings,
            after: &next,
        };
        let snapshot = Arc::new(recompile(change, &self.parts.registry, &answers));
        let prepared = match self.parts.workers.prepare(&snapshot) {
            Ok(prepared) => prepared,
            Err(error) => {
                let before = Arc::clone(&self.parts.settings.kept);
                if let Err(also) = self.keep(&before).await {
                    tracing::error!(reason = %also, "the routes that were kept before cannot be restored");
                }
                return Err(failed(error));
            }
        };
        self.parts.workers.commit(prepared, Arc::clone(&snapshot));
        self.parts.keys.apply(&snapshot);
        self.certificates.follow(&next);
        self.parts.settings = next;
        Ok(snapshot.number)
    }

    /// Writes the file of the routes; meanwhile this node follows views and neighbours as ever.
    async fn keep(&mut self, kept: &Arc<Kept>) -> Result<(), ApiError> {
        let writing = Arc::clone(kept);
        let written = self.meanwhile(spawn_blocking(move || writing.store())).await;
        let error = match written {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        let file = kept.file.display();
        Err(ApiError::Failed(format!(
            "{file} cannot be written, where routes are kept that are set here: {error}. Make its directory writable for the \
             gateway, or name another file with admin.routes_file."
        )))
    }
}

/// What a change comes to.
struct Next {
    change: Change,
    version: Option<String>,
    settings: Settings,
}

/// What the route says now, if it may be changed here.
fn held<'s>(order: &Order, settings: &'s Settings) -> Result<Option<&'s Value>, ApiError> {
    if let Some(Origin::File(_, line)) = settings.route(&order.name).map(|route| route.origin) {
        let (name, file) = (&order.name, settings.source.display());
        return Err(ApiError::Conflict(format!(
            "Route \"{name}\" is set in {file}:{line}: change it there, and run `gateway reload`."
        )));
    }
    let held = settings.kept.get(&order.name);
    let version = held.map(version);
    if order.only_if.holds(version.as_deref()) {
        return Ok(held);
    }
    let (name, is) = (
        &order.name,
        version.map(|version| format!("has version \"{version}\"")),
    );
    let is = is.unwrap_or_else(|| "does not exist".to_owned());
    Err(ApiError::Stale(match &order.only_if {
        OnlyIf::Absent => format!("Route \"{name}\" exists already: it {is}."),
        _ => format!("Route \"{name}\" {is}: somebody else has changed it. Look at it, and try again."),
    }))
}

/// Reads and checks what a route is to say.
fn read(
    name: &str,
    text: &str,
    format: Format,
    settings: &Settings,
) -> Result<(Arc<RouteSettings>, Value), Refused> {
    let base = KeyPath::top("route").index(0);
    let (document, mut value, foreign) = Document::part(Path::new(BODY), text, format, &base)?;
    let document = document.beside(&settings.source);
    let mut problems = Problems::new(&document);
    kept::report(foreign, &mut problems);
    if let Some(members) = value.as_object_mut() {
        let said = members.entry("name").or_insert_with(|| name.into());
        if said.as_str().is_some_and(|said| said != name) {
            let fault = format!("{said} is not the name that is asked for, which is \"{name}\"");
            problems.add(&base.key("name"), fault, "write the same, or leave it out");
            *said = name.into();
        }
    }
    let given = shape::read_routes(kept::alone(value.clone()), &mut problems);
    let given = given.and_then(|given| given.route?.into_iter().next());
    let route = given.and_then(|given| added(&given, &base, settings, &mut problems));
    problems.into_result().map_err(|refused| refused.within(&base))?;
    let route = route.ok_or_else(|| {
        let fault = "could not be resolved, for a reason that no check names".to_owned();
        Refused::unreadable(BODY.into(), fault, "please report this route as a bug of gateway")
    })?;
    Ok((route, value))
}

/// All routes with that one in its place, or as the last one.
fn with(settings: &Settings, route: Arc<RouteSettings>) -> Vec<Arc<RouteSettings>> {
    let mut routes = settings.routes.clone();
    match routes.iter_mut().find(|held| held.name == route.name) {
        Some(held) => *held = route,
        None => routes.push(route),
    }
    routes
}

fn has_room(kept: &Kept) -> Result<(), ApiError> {
    if kept.count() > limits::ROUTES_SET_MAX {
        let most = limits::ROUTES_SET_MAX;
        return Err(ApiError::Conflict(format!(
            "{most} routes are set here already: move some to the configuration, which has room for more."
        )));
    }
    if kept.text.len() as u64 > limits::FILE_BYTES_MAX {
        let most = limits::FILE_BYTES_MAX;
        return Err(ApiError::Conflict(format!(
            "With it the routes that are set here would have more than {most} bytes: move some to the configuration."
        )));
    }
    Ok(())
}

fn missing(name: &str, settings: &Settings) -> ApiError {
    let near = nearest(name, settings.routes.iter().map(|route| route.name.as_str()));
    let near = near
        .map(|near| format!(" Did you mean \"{near}\"?"))
        .unwrap_or_default();
    ApiError::NotFound(format!("There is no route \"{name}\".{near}"))
}

/// All routes as they were written, or the one of that name.
///
/// # Errors
/// There is none of that name.
pub(super) fn shown(settings: &Settings, name: Option<&str>) -> Result<Vec<Shown>, ApiError> {
    // It was read once already.
    let (_, file, _) = Document::parse(&settings.source, &settings.text)
        .map_err(|refused| ApiError::Failed(refused.to_string()))?;
    let written = |index: usize| file.get("route")?.get(index).cloned();
    let wanted = settings
        .routes
        .iter()
        .filter(|route| name.is_none_or(|name| name == route.name));
    let shown = wanted.map(|route| {
        let (from, value) = match route.origin {
            Origin::File(index, line) => {
                let file = settings.source.clone();
                (From::File { file, line }, written(index))
            }
            Origin::Api => (From::Api, settings.kept.get(&route.name).cloned()),
        };
        let value = value.unwrap_or_default();
        Shown {
            name: route.name.clone(),
            from,
            version: version(&value),
            route: value,
        }
    });
    let shown: Vec<Shown> = shown.collect();
    match name {
        Some(name) if shown.is_empty() => Err(missing(name, settings)),
        _ => Ok(shown),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::load::load_text;
    use crate::config::surroundings::{Invalid, Surroundings};

    const TEXT: &str = "[node]\nname='gw'\n[[listener]]\nname='web'\naddress='127.0.0.1:8080'\n\
                        [[upstream]]\nname='users'\nendpoints=[{address='10.0.1.1:80'}]\n\
                        [[route]]\nname='all'\nlisteners=['web']\nupstream='users'\nmatch={path_prefix='/'}\n";

    fn settings() -> Settings {
        let surroundings = Surroundings {
            cores: 1,
            state_directory: "/state".into(),
            invalid: Invalid::Refused,
        };
        load_text(Path::new("t.toml"), TEXT, &surroundings).unwrap()
    }

    #[track_caller]
    fn check(name: &str, text: &str, format: Format, wanted: &[&str]) {
        Refused::expect(read(name, text, format, &settings()), text, wanted);
    }

    #[test]
    fn a_body_is_judged_as_the_file_is_with_all_problems_at_their_places_in_it() {
        let good = r#"{ "listeners": ["web"], "match": { "path": "/x" }, "upstream": "users" }"#;
        check("x", good, Format::Json, &[]);
        check(
            "x",
            "listeners=['web']\nmatch={path='/x'}\nupstream='users'\n",
            Format::Toml,
            &[],
        );
        check(
            "x",
            "listeners=['wbe']\nmatch={path='x'}\nrespond={status=200}\ntimeout='15'\n[retry]\nattempts=-1\nzzz=1\n",
            Format::Toml,
            &[
                "body:1: listeners[0]: there is no listener \"wbe\"; did you mean \"web\"?",
                "body:2: match.path: ",
                "body:7: retry.zzz: unknown key; known here: ",
                "body:4: timeout: '15' is not a length of time; write a number and a unit in quotes",
                "body:6: retry.attempts: -1 is out of range",
            ],
        );
        check(
            "x",
            "{ \"name\": \"y\",\n\"listeners\": [\"web\"],\n\"match\": { \"path_prefix\": \"/\" }, \"upstream\": \"usrs\",\n\"mirror\": null }",
            Format::Json,
            &[
                "body:1: name: \"y\" is not the name that is asked for, which is \"x\"; write the same, or leave it out",
                "body:3: upstream: there is no upstream \"usrs\"; did you mean \"users\"?",
                "body:4: mirror: null says nothing; leave the key out",
            ],
        );
        check(
            "x",
            r#"{ "listeners": ["web"], "match": { "path_prefix": "/" }, "upstream": "users" }"#,
            Format::Json,
            &[
                "body:1: match: route \"all\" (t.toml:9) takes the same methods of / and below for every host already",
            ],
        );
        check("x", "{", Format::Json, &["body:1: column 1: EOF"]);
        check(
            "a b",
            good,
            Format::Json,
            &["body:1: name: \"a b\" will not do as a name"],
        );
        check(
            "x",
            "",
            Format::Toml,
            &[
                "listeners: is missing",
                "match: is missing",
                "upstream: the route does nothing",
            ],
        );
    }

    #[test]
    fn routes_of_the_file_are_the_files_and_versions_keep_two_operators_apart() {
        let value =
            json!({ "name": "x", "listeners": ["web"], "match": { "path": "/x" }, "upstream": "users" });
        let (route, read_back) = read("x", &value.to_string(), Format::Json, &settings()).unwrap();
        assert_eq!(read_back, value);
        let settings = settings();
        let kept = Arc::new(settings.kept.with("x", value.clone()));
        let settings = settings.with_routes(with(&settings, route), kept);
        let order = |name: &str, only_if: OnlyIf| Order {
            name: name.to_owned(),
            says: None,
            only_if,
            run: Run::Real,
        };
        let held = |name: &str, only_if: OnlyIf| {
            super::held(&order(name, only_if), &settings).map(|held| held.cloned())
        };
        let refused = held("all", OnlyIf::Always).unwrap_err().to_string();
        assert_eq!(
            refused,
            "Route \"all\" is set in t.toml:9: change it there, and run `gateway reload`."
        );
        assert_eq!(
            held("x", OnlyIf::Version(vec![version(&value)])).unwrap(),
            Some(value.clone())
        );
        assert!(matches!(held("x", OnlyIf::Absent), Err(ApiError::Stale(_))));
        assert!(matches!(
            held("x", OnlyIf::Version(vec!["other".to_owned()])),
            Err(ApiError::Stale(_))
        ));
        assert!(matches!(held("y", OnlyIf::Present), Err(ApiError::Stale(_))));
        assert_eq!(held("y", OnlyIf::Always).unwrap(), None);
        let shown = shown(&settings, None).unwrap();
        let line = From::File {
            file: "t.toml".into(),
            line: 9,
        };
        assert_eq!((shown[0].name.as_str(), &shown[0].from), ("all", &line));
        assert_eq!(shown[0].route["match"], json!({ "path_prefix": "/" }));
        assert_eq!(
            (&shown[1].from, &shown[1].route, &shown[1].version),
            (&From::Api, &value, &version(&value))
        );
        let missing = super::shown(&settings, Some("al")).unwrap_err().to_string();
        assert_eq!(missing, "There is no route \"al\". Did you mean \"all\"?");
    }
}
