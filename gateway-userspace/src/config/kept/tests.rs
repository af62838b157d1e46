//! What the file of kept routes says, and how it is joined with a configuration.

use super::*;
use crate::config::load::load_text;
use crate::config::surroundings::{Invalid, Surroundings};

const TEXT: &str = "[node]\nname='gw'\n[[listener]]\nname='web'\naddress='127.0.0.1:8080'\n\
                    [[upstream]]\nname='users'\nendpoints=[{address='10.0.1.1:80'}]\n\
                    [[route]]\nname='all'\nlisteners=['web']\nupstream='users'\nmatch={path_prefix='/'}\n";

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("gateway-kept-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn settings(&self, text: &str) -> Settings {
        let surroundings = Surroundings {
            cores: 1,
            state_directory: self.0.clone(),
            invalid: Invalid::Refused,
        };
        load_text(Path::new("t.toml"), text, &surroundings).unwrap()
    }

    fn file(&self) -> PathBuf {
        self.0.join("routes/gw.toml")
    }

    fn kept(&self) -> Kept {
        Kept {
            file: self.file(),
            ..Kept::default()
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn route(name: &str, path: &str) -> Value {
    json!({ "name": name, "listeners": ["web"], "match": { "path": path }, "respond": { "status": 204 } })
}

#[test]
fn what_is_stored_is_read_again_whatever_it_says() {
    let scratch = Scratch::new("stored");
    let odd = json!({
        "name": "odd", "listeners": ["web"],
        "match": { "path": "/a", "headers": [{ "name": "x-a", "exact": "\" \\ \t \u{7f} ü \u{1}" }] },
        "respond": { "status": 200, "body": "line\nline\r\n", "headers": { "x.y": "1" } },
        "timeout": "3s", "merge_slashes": false,
    });
    let mut plain = odd.clone();
    plain["respond"].as_object_mut().unwrap().remove("headers");
    plain["match"]["headers"][0]["exact"] = "\" \\ ü".into();
    let kept = scratch
        .kept()
        .with("a", route("a", "/1"))
        .with("odd", plain.clone());
    let kept = kept
        .with("a", route("a", "/2"))
        .with("gone", route("gone", "/3"))
        .without("gone");
    kept.store().unwrap();
    kept.store().unwrap();
    let names: Vec<_> = fs::read_dir(scratch.0.join("routes"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["gw.toml"], "nothing unfinished is left");
    let settings = merged(scratch.settings(TEXT)).unwrap();
    assert_eq!(*settings.kept, kept);
    assert_eq!(settings.kept.get("odd"), Some(&plain));
    let names: Vec<&str> = settings.listeners[0]
        .routes
        .iter()
        .map(|r| r.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["all", "a", "odd"],
        "the file's first, then in the order in which they were set"
    );
    // As text, any value comes back.
    let (_, value, _) = Document::parse(Path::new("x"), &kept.with("odd", odd.clone()).text).unwrap();
    assert_eq!(value["route"][1], odd);
}

#[test]
fn without_a_file_there_are_the_configurations_routes_alone() {
    let scratch = Scratch::new("none");
    let settings = merged(scratch.settings(TEXT)).unwrap();
    assert_eq!((settings.routes.len(), settings.kept.count()), (1, 0));
    assert_eq!(settings.kept.file, scratch.file());
}

#[test]
fn what_does_not_fit_the_configuration_is_refused_all_at_once_with_its_lines() {
    let scratch = Scratch::new("refused");
    let mut gone = route("b", "/b");
    gone["listeners"] = json!(["wbe"]);
    gone["tiemout"] = "1s".into();
    let kept = scratch
        .kept()
        .with("all", route("all", "/x"))
        .with("b", gone)
        .with("c", route("c", "/c"));
    kept.with("d", route("d", "/c")).store().unwrap();
    let refused = merged(scratch.settings(TEXT)).unwrap_err().to_string();
    let wanted = [
        "t.toml:9: route[0].name: \"all\" was set by the admin API as well (",
        "remove it here, or there by `gateway routes delete all`",
        "gw.toml:12: route[1].listeners[0]: there is no listener \"wbe\"; did you mean \"web\"?",
        "gw.toml:15: route[1].tiemout: unknown key; did you mean timeout?",
        "gw.toml:26: route[3].match: route \"c\" (set by the admin API) takes the same methods of /c for every host already",
        "4 problems; nothing was changed",
    ];
    for wanted in wanted {
        assert!(refused.contains(wanted), "{wanted:?} is not in:\n{refused}");
    }
    fs::write(scratch.file(), "[[upstream]]\nname = 'x'\n").unwrap();
    let refused = merged(scratch.settings(TEXT)).unwrap_err().to_string();
    assert!(
        refused.contains("upstream: unknown key; known here: route"),
        "{refused}"
    );
}

#[test]
fn a_version_tells_contents_apart_and_nothing_else() {
    let one = version(&route("a", "/1"));
    assert_eq!(one, version(&route("a", "/1")));
    assert_ne!(one, version(&route("a", "/2")));
    assert_eq!(one.len(), 2 * VERSION_BYTES);
}
