//! The README's commands for one node do what it says, for a user without root.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use gateway_tests::lab::{Lab, Plan, Switch};

use crate::support::one_at_a_time;

/// The user and group `nobody` and `nogroup`.
const NOBODY: u32 = 65_534;

/// The section whose commands are run.
const SECTION: &str = "## One node, L7 only, without root";

/// The commands of a section's first block.
fn commands(readme: &str, section: &str) -> Vec<String> {
    let body = readme
        .split_once(section)
        .map(|(_, body)| body)
        .expect("the README has the section");
    let block = body
        .split_once("```sh\n")
        .and_then(|(_, rest)| rest.split_once("```"))
        .expect("the section has commands");
    block.0.lines().map(str::to_owned).collect()
}

#[test]
fn root_quick_start_of_the_readme_works_for_nobody() {
    let _turn = one_at_a_time();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    let readme = std::fs::read_to_string(root.join("README.md")).expect("the README");
    let plan = Plan::new().expect("the program");
    let lab = Lab::raise_with(&plan, Switch::Plain).expect("a lab");
    // In a place of its own that nobody may enter, with the program and the examples.
    let place = lab.directory().join("quickstart");
    for directory in ["target/debug", "examples", "state"] {
        std::fs::create_dir_all(place.join(directory)).expect("a directory");
    }
    std::fs::copy(&plan.program, place.join("target/debug/gateway")).expect("the program");
    let example = Path::new("examples/quickstart.toml");
    std::fs::copy(root.join(example), place.join(example)).expect("the example");
    chown(place.join("state"), Some(NOBODY), Some(NOBODY)).expect("a state directory");

    let mut script = vec!["set -e".to_owned(), "trap 'kill $! && wait' EXIT".to_owned()];
    // What cargo builds was built by whoever runs this test.
    script.extend(
        commands(&readme, SECTION)
            .into_iter()
            .filter(|line| !line.starts_with("cargo ")),
    );
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &script.join("\n")])
        .current_dir(&place)
        .env("XDG_STATE_HOME", place.join("state"));
    shell
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .uid(NOBODY)
        .gid(NOBODY);
    let node = lab.nodes().first().expect("a node");
    let output = node
        .spawn(shell)
        .expect("a shell")
        .wait_with_output()
        .expect("its output");
    let [shown, said] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{}\n{shown}\n{said}", output.status);
    assert!(shown.contains("Hello from the gateway."), "{shown}\n{said}");
    assert!(shown.contains("quickstart"), "{shown}\n{said}");
}
