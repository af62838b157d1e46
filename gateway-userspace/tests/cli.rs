//! The program as an operator and a script meet it: output and exit statuses.

use std::io;
use std::process::{Command, Output};

/// Runs `gateway` with those arguments, away from the terminal.
fn gateway(arguments: &[&str]) -> io::Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(arguments)
        .output()
}

fn check(arguments: &[&str], status: i32, stdout: &str, stderr: &str) {
    let Ok(output) = gateway(arguments) else {
        unreachable!("the program was built with this test")
    };
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(status), "{arguments:?}\n{out}{err}");
    assert!(out.contains(stdout), "{arguments:?}: {stdout:?} is not in\n{out}");
    assert!(err.contains(stderr), "{arguments:?}: {stderr:?} is not in\n{err}");
    assert!(
        !out.contains('\x1b') && !err.contains('\x1b'),
        "{arguments:?}: colours without a terminal"
    );
}

const QUICKSTART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/quickstart.toml");

#[test]
fn exit_status_says_whether_usage_configuration_or_something_else_is_wrong() {
    let bad = std::env::temp_dir().join(format!("gateway-cli-bad-{}.toml", std::process::id()));
    std::fs::write(&bad, "[node]\nname = \"a\"\nweigth = 1\n").unwrap();
    let bad_name = bad.to_str().unwrap();
    let refused = format!("{bad_name}:3: node.weigth: unknown key; did you mean weight?");
    check(&["check", QUICKSTART], 0, "the configuration is good", "");
    check(&["check", bad_name], 64, "", &refused);
    check(
        &["check", "--json", bad_name],
        64,
        "\"remedy\": \"did you mean weight?\"",
        "",
    );
    check(
        &["run", "--config", bad_name],
        64,
        "",
        "2 problems; nothing was changed",
    );
    check(&["run"], 64, "", "--config <FILE>");
    check(&["stauts"], 64, "", "'status'");
    check(
        &["status", "--admin", "unix:/nonexistent/admin.sock"],
        1,
        "",
        "is `gateway run` running?",
    );
    check(&["--version"], 0, env!("CARGO_PKG_VERSION"), "");
    check(&["completions", "bash"], 0, "complete -F _gateway", "");
    std::fs::remove_file(&bad).unwrap();
}

#[test]
fn schema_is_json_that_knows_the_keys() {
    let schema: serde_json::Value = serde_json::from_slice(&gateway(&["schema"]).unwrap().stdout).unwrap();
    assert_eq!(
        schema["properties"]["node"]["properties"]["weight"]["maximum"],
        1000
    );
}

#[test]
fn a_check_names_fallbacks_balancers_and_guards() {
    let file = std::env::temp_dir().join(format!("gateway-cli-check-{}.toml", std::process::id()));
    let text = "[node]\nname = 'a'\n[[listener]]\nname = 'w'\naddress = '127.0.0.1:8080'\n\
        [[route]]\nname = 'r'\nlisteners = ['w']\nmatch = { path = '/' }\nupstream = 'u'\n\
        fallback = [{ upstream = 'v' }, { respond = { status = 503 } }]\n\
        [[upstream]]\nname = 'u'\nbalancer = 'peak-ewma'\nendpoints = [{ address = '10.0.0.1:80' }]\noutlier = {}\n\
        [[upstream]]\nname = 'v'\nendpoints = [{ address = '10.0.0.2:80' }]\n";
    std::fs::write(&file, text).unwrap();
    let name = file.to_str().unwrap();
    for wanted in [
        "→ u, else v, else answers 503",
        "peak-ewma",
        "outlier",
        "round-robin",
        "no guards",
    ] {
        check(&["check", name], 0, wanted, "");
    }
    std::fs::remove_file(&file).unwrap();
}
