//! Configuration files of the subjects: the templates of `tests/bench`, filled in.
//!
//! Words between `@` are replaced. A line that begins with one of the marks `@PLAIN@`, `@TLS@` and `@GRPC@` is there in
//! those setups only. A line `@ROUTES@` stands for routes that are made here, for each subject in the way in which it
//! finds one of many fastest.

use std::fmt::Write as _;
use std::path::Path;

use super::subject::{Ports, Subject};

/// The path of the gRPC method that is called.
pub const CALLS_PATH: &str = "/bench.Calls/Hello";

/// What a scenario wants of the subjects' files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Setup {
    /// One route for all paths, no TLS.
    Plain,
    /// The same, by TLS 1.3 on the port for HTTP/1.1.
    Tls,
    /// Beside it a route to an upstream of HTTP/2.
    Grpc,
    /// This many routes, the one for all paths among them.
    Routes(usize),
}

/// What stands in the place of words.
#[derive(Clone, Copy, Debug)]
pub struct Words<'w> {
    /// The subject's own folder.
    pub folder: &'w Path,
    /// Where certificate and key are.
    pub files: &'w Path,
    /// Where it listens.
    pub ports: Ports,
    /// What it forwards to.
    pub backend: u16,
    /// Another upstream.
    pub peer: u16,
}

/// A subject's file.
pub fn filled(template: &str, subject: Subject, setup: Setup, words: &Words<'_>) -> String {
    let mut text = String::new();
    for line in template.lines() {
        let Some(line) = kept(line, setup) else { continue };
        if line.trim() == "@ROUTES@" {
            text += &routes(subject, setup);
        } else {
            text += line;
            text.push('\n');
        }
    }
    let scheme = if setup == Setup::Tls { "https" } else { "http" };
    text.replace("@DIRECTORY@", &words.folder.display().to_string())
        .replace("@FILES@", &words.files.display().to_string())
        .replace("@PORT@", &words.ports.http1.to_string())
        .replace("@PORT_HTTP2@", &words.ports.http2.to_string())
        .replace("@BACKEND@", &words.backend.to_string())
        .replace("@PEER@", &words.peer.to_string())
        .replace("@SCHEME@", scheme)
}

/// A file that the subject's own names: its name and its text.
pub fn beside(subject: Subject, setup: Setup) -> Option<(&'static str, String)> {
    let (Subject::Haproxy, Setup::Routes(count)) = (subject, setup) else {
        return None;
    };
    let lines = numbers(count).map(|number| format!("/r/{number}/ backend\n"));
    Some(("routes.map", lines.collect()))
}

/// A path that only the last of so many routes takes.
pub fn last_path(count: usize) -> String {
    format!("/r/{}/x", count.saturating_sub(1))
}

/// Routes beside the one for all paths.
fn numbers(count: usize) -> std::ops::Range<usize> {
    1..count
}

/// A line of the template without its mark, if this setup has it.
fn kept(line: &str, setup: Setup) -> Option<&str> {
    let marks = [
        ("@PLAIN@", setup != Setup::Tls),
        ("@TLS@", setup == Setup::Tls),
        ("@GRPC@", setup == Setup::Grpc),
    ];
    for (mark, wanted) in marks {
        if let Some(rest) = line.strip_prefix(mark) {
            return wanted.then_some(rest);
        }
    }
    Some(line)
}

fn routes(subject: Subject, setup: Setup) -> String {
    match (subject, setup) {
        (Subject::Envoy, Setup::Routes(count)) => envoy_tree(count),
        (Subject::Envoy, setup) => envoy_list(setup),
        (Subject::Gateway, Setup::Routes(count)) => gateway(count),
        (Subject::Nginx, Setup::Routes(count)) => numbers(count)
            .map(|number| format!("        location /r/{number}/ {{ proxy_pass http://backend; }}\n"))
            .collect(),
        (Subject::Haproxy, Setup::Routes(_)) => {
            "    use_backend %[path,map_beg(@DIRECTORY@/routes.map,backend)]\n".into()
        }
        _ => String::new(),
    }
}

fn gateway(count: usize) -> String {
    let mut text = String::new();
    for number in numbers(count) {
        text += &gateway_route(number);
    }
    text
}

/// One of the gateway's many routes.
pub fn gateway_route(number: usize) -> String {
    format!(
        "[[route]]\nname = \"r{number}\"\nlisteners = [\"web\"]\nmatch = {{ path_prefix = \"/r/{number}\" }}\n\
         upstream = \"backend\"\n\n"
    )
}

/// Routes that are tried one after the other, which is envoy's usual way.
fn envoy_list(setup: Setup) -> String {
    let calls = match setup {
        Setup::Grpc => "{ match: { prefix: /bench.Calls/ }, route: { cluster: calls } }, ",
        _ => "",
    };
    format!("              routes: [{calls}{{ match: {{ prefix: / }}, route: {{ cluster: backend }} }}]\n")
}

/// Routes in a tree of prefixes, which envoy finds in one walk.
fn envoy_tree(count: usize) -> String {
    let action = "action: { name: route, typed_config: { \"@type\": \
                  type.googleapis.com/envoy.config.route.v3.Route, match: { prefix: / }, \
                  route: { cluster: backend } } }";
    let mut text = String::from(
        "              matcher:\n                matcher_tree:\n                  input:\n                    \
         name: path\n                    typed_config:\n                      \"@type\": \
         type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput\n                      \
         header_name: \":path\"\n                  prefix_match_map:\n                    map:\n",
    );
    let prefixes = numbers(count).map(|number| format!("/r/{number}/"));
    for prefix in prefixes.chain(["/".into()]) {
        // Writing to a string cannot fail.
        if writeln!(text, "                      \"{prefix}\": {{ {action} }}").is_err() {
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::bench::training;
    use crate::workspace;

    fn words() -> Words<'static> {
        Words {
            folder: Path::new("/tmp/x"),
            files: Path::new("/tmp/y"),
            ports: Ports {
                http1: 1001,
                http2: 1002,
            },
            backend: 1003,
            peer: 1004,
        }
    }

    /// What looks like a word that nobody filled in.
    fn left_over(text: &str) -> Option<&str> {
        let inside = text.split('@').skip(1);
        inside.into_iter().find(|word| {
            !word.is_empty()
                && word
                    .chars()
                    .all(|letter| letter.is_ascii_uppercase() || "_0123456789".contains(letter))
        })
    }

    #[test]
    fn every_word_of_the_templates_is_filled_in() {
        let root = workspace::root().unwrap().join("tests/bench");
        let setups = [Setup::Plain, Setup::Tls, Setup::Grpc, Setup::Routes(3)];
        let subjects = [Subject::Gateway, Subject::Nginx, Subject::Haproxy, Subject::Envoy];
        let mut files: Vec<(Subject, Setup, &str)> = Vec::new();
        for subject in subjects {
            files.extend(setups.map(|setup| (subject, setup, subject.template())));
        }
        files.push((Subject::Gateway, Setup::Plain, training::TEMPLATE));
        for (subject, setup, template) in files {
            let text = fs::read_to_string(root.join(template)).unwrap();
            let text = filled(&text, subject, setup, &words());
            let settings = text.lines().filter(|line| !line.trim_start().starts_with('#'));
            for line in settings {
                assert_eq!(left_over(line), None, "{template}, {setup:?}: {line}");
            }
            let numbers = if subject == Subject::Envoy {
                ["1001", "1003"]
            } else {
                ["127.0.0.1:1001", "127.0.0.1:1003"]
            };
            assert!(numbers.iter().all(|number| text.contains(number)), "{text}");
            let has = |word: &str| text.contains(word);
            assert_eq!(
                has("/tmp/y/"),
                setup == Setup::Tls,
                "{template}, {setup:?}: a certificate"
            );
            assert_eq!(
                has("/bench.Calls"),
                setup == Setup::Grpc,
                "{template}, {setup:?}: calls"
            );
            let many = has("/r/2") || has("routes.map");
            assert_eq!(many, setup == Setup::Routes(3), "{template}, {setup:?}: routes");
        }
    }

    #[test]
    fn a_mark_keeps_its_line_for_its_setups() {
        let template = "a\n@TLS@  b\n@PLAIN@  c\n@GRPC@  d\n";
        let of = |setup| filled(template, Subject::Gateway, setup, &words());
        assert_eq!(of(Setup::Plain), "a\n  c\n");
        assert_eq!(of(Setup::Tls), "a\n  b\n");
        assert_eq!(of(Setup::Grpc), "a\n  c\n  d\n");
    }

    #[test]
    fn so_many_routes_are_made_and_the_last_takes_its_path() {
        for subject in [Subject::Gateway, Subject::Nginx, Subject::Envoy] {
            let text = routes(subject, Setup::Routes(10));
            // Nine, and the one for all paths, which stands in the template but for envoy's tree.
            assert_eq!(text.matches("/r/").count(), 9, "{text}");
            assert!(text.contains("/r/9"), "{text}");
        }
        let (name, text) = beside(Subject::Haproxy, Setup::Routes(10)).unwrap();
        assert_eq!((name, text.lines().count()), ("routes.map", 9));
        assert!(text.ends_with("/r/9/ backend\n"));
        assert_eq!(last_path(10), "/r/9/x");
        assert_eq!(beside(Subject::Haproxy, Setup::Plain), None);
    }
}
