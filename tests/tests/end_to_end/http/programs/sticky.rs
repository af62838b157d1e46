//! curl with a cookie jar stays with an endpoint: through an edit that drains it, and at another node with the same key.
//! And curl with a header reaches the subset that it names.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use http::{Request, Response};
use hyper::body::Incoming;

use super::super::gateway::{Gateway, Setup, route};
use super::super::peers::{Body, Server, full};
use super::super::within::run;
use super::told;

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("gateway-sticky-{:016x}", rand::random::<u64>()));
        fs::create_dir_all(&directory).expect("a directory");
        let key = directory.join("sticky.key");
        fs::write(&key, "ab".repeat(32)).expect("a key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("its mode");
        Self(directory)
    }

    fn key(&self) -> PathBuf {
        self.0.join("sticky.key")
    }

    fn jar(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Answers with its name and the cookies that it got.
async fn named(name: &'static str) -> Server {
    Server::start(move |request: Request<Incoming>| async move {
        let cookies = request.headers().get("cookie");
        let cookies = cookies.map_or("-", |value| value.to_str().expect("text"));
        Response::<Body>::new(full(format!("{name} {cookies}")))
    })
    .await
}

/// Every request to endpoints given as lines of TOML.
fn setup(workers: usize, endpoints: &[String], more: &str) -> Setup {
    let endpoints = endpoints.join(", ");
    Setup {
        workers,
        listener: String::new(),
        defaults: String::new(),
        tables: route("all", "path_prefix = \"/\"", "pool", "")
            + &format!("\n[[upstream]]\nname = \"pool\"\nendpoints = [{endpoints}]\n{more}\n"),
    }
}

fn sticky(key: &Path) -> String {
    format!(
        "[upstream.sticky]\ncookie = \"srv\"\nttl = \"1h\"\nkey_file = \"{}\"\n",
        key.display()
    )
}

/// What curl got, with that jar and a cookie of its own.
async fn curl(gateway: &Gateway, version: &str, jar: &str) -> String {
    let url = format!("http://{}/", gateway.address());
    let arguments = [
        "--silent",
        "--show-error",
        "--cookie",
        jar,
        "--cookie-jar",
        jar,
        version,
        &url,
    ];
    told("curl", &arguments).await
}

/// The value of `srv` in a jar.
fn value(jar: &str) -> Option<String> {
    let jar = fs::read_to_string(jar).ok()?;
    let mut lines = jar.lines().filter_map(|line| line.split_once("\tsrv\t"));
    lines.next().map(|(_, value)| value.to_owned())
}

#[test]
fn curl_stays_where_its_jar_says_through_edits_and_at_another_node() {
    run(async {
        let directory = Directory::new();
        let servers = [named("a").await, named("b").await, named("c").await];
        let endpoint = |index: usize, weight: u32| {
            format!(
                "{{ address = \"{}\", weight = {weight} }}",
                servers[index].address
            )
        };
        let all = [endpoint(0, 1), endpoint(1, 1), endpoint(2, 1)];
        let sticky = sticky(&directory.key());
        let gateway = Gateway::start(&setup(2, &all, &sticky));
        let jar = directory.jar("one");
        let home = curl(&gateway, "--http1.1", &jar).await;
        assert!(home.ends_with(" -"), "{home}");
        let name = value(&jar).expect("a cookie in the jar");
        assert!(!name.contains(&servers[0].address.port().to_string()), "{name}");
        for version in ["--http1.1", "--http2-prior-knowledge", "--http1.0"].repeat(2) {
            assert_eq!(curl(&gateway, version, &jar).await, home, "{version}");
            assert_eq!(value(&jar).as_ref(), Some(&name), "{version}: it is not replaced");
        }

        let index = ["a -", "b -", "c -"].iter().position(|one| *one == home);
        let index = index.expect("one of the three");
        let mut drained = all.clone();
        drained[index] = endpoint(index, 0);
        tokio::task::block_in_place(|| gateway.reload(&setup(2, &drained, &sticky)));
        for number in 0..6 {
            assert_eq!(curl(&gateway, "--http1.1", &jar).await, home, "it drains");
            let new = curl(&gateway, "--http1.1", &directory.jar(&format!("new-{number}"))).await;
            assert_ne!(new, home, "it gets nobody else");
        }

        let other = Gateway::start(&setup(1, &drained, &sticky));
        let url = format!("http://{}/", other.address());
        let cookie = format!("a=1; srv={name}; b=2");
        let answer = told("curl", &["--silent", "--include", "--cookie", &cookie, &url]).await;
        let expected = home.replace('-', "a=1; b=2");
        assert!(answer.ends_with(&expected), "{answer}");
        assert!(!answer.contains("set-cookie"), "{answer}");

        let mut left = all.to_vec();
        left.remove(index);
        tokio::task::block_in_place(|| gateway.reload(&setup(2, &left, &sticky)));
        let next = curl(&gateway, "--http1.1", &jar).await;
        assert!(
            next != home && value(&jar).is_some_and(|value| value != name),
            "{next}"
        );
        assert_eq!(curl(&gateway, "--http2-prior-knowledge", &jar).await, next);
        tokio::task::block_in_place(|| gateway.check_idle());
    });
}

#[test]
fn curl_reaches_the_subset_that_its_header_or_its_route_names() {
    run(async {
        let servers = [named("one").await, named("two").await];
        let endpoint = |index: usize| {
            let address = servers[index].address;
            format!(
                "{{ address = \"{address}\", metadata = {{ version = \"v{}\" }} }}",
                index + 1
            )
        };
        let subsets = "subsets = [{ name = \"stable\", match = { version = \"v1\" } }, \
                       { name = \"canary\", match = { version = \"v2\" } }]\n\
                       subset_by = { header = \"x-version\", metadata = \"version\" }\n\
                       subset_fallback = \"default\"\nsubset_default = \"stable\"\n";
        let canary = route("canary", "path_prefix = \"/next\"", "pool", "subset = \"canary\"");
        let setup = setup(1, &[endpoint(0), endpoint(1)], subsets).tables(&canary);
        let gateway = Gateway::start(&setup);
        for (path, header, expected) in [
            ("/", "x-none: 1", "one -"),
            ("/", "x-version: v1", "one -"),
            ("/", "x-version: v2", "two -"),
            ("/", "x-version: v3", "one -"),
            ("/next", "x-version: v1", "two -"),
        ] {
            let url = format!("http://{}{path}", gateway.address());
            for _ in 0..3 {
                let text = told("curl", &["--silent", "--header", header, &url]).await;
                assert_eq!(text, expected, "{path} {header}");
            }
        }
        let status = tokio::task::block_in_place(|| gateway.status());
        let metadata = &status["upstreams"][0]["endpoints"][1]["metadata"];
        assert_eq!(metadata["version"], "v2", "{status}");
    });
}
