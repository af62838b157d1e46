//! Starts that cannot succeed: one sentence that names the remedy, and nothing left behind.

use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use gateway_tests::lab::node::{Node, READY_TIMEOUT};
use gateway_tests::lab::wait::wait_until;
use gateway_tests::lab::{Lab, Plan};
use http::Method;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::one_at_a_time;

/// A start that fails does so at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// The user and group `nobody` and `nogroup`.
const NOBODY: u32 = 65_534;

/// Exit code of a failure while running.
pub const FAILURE: i32 = 1;

/// Exit code of a bad configuration.
const BAD_CONFIGURATION: i32 = 64;

/// Who runs the program.
#[derive(Clone, Copy, PartialEq)]
pub enum User {
    Root,
    /// Root of a kernel that hides its type information.
    RootWithoutBtf,
    Nobody,
}

/// Hides `/sys/kernel/btf` below an empty file system from the calling process and what it starts.
pub fn hide_btf() -> std::io::Result<()> {
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(
        Some("tmpfs"),
        "/sys/kernel/btf",
        Some("tmpfs"),
        MsFlags::empty(),
        none,
    )?;
    Ok(())
}

/// Runs the program until it ends by itself.
pub fn run(node: &Node, user: User, program: &std::path::Path) -> Output {
    let mut command = Command::new(program);
    command.arg("run").arg("--config").arg(&node.files().config);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    match user {
        User::Root => {}
        User::Nobody => {
            // Its home, as Debian has it; that of whoever runs the tests is closed to it.
            command.uid(NOBODY).gid(NOBODY).env("HOME", "/nonexistent");
            command.env_remove("XDG_STATE_HOME");
        }
        User::RootWithoutBtf => {
            // SAFETY: `hide_btf` makes system calls on short constant paths, for which nix allocates nothing: that is
            // allowed after a fork.
            unsafe { command.pre_exec(hide_btf) };
        }
    }
    let mut child = node.spawn(command).expect("a process");
    let ended = wait_until(Instant::now() + PATIENCE, || {
        child.try_wait().expect("a look at the process")
    });
    if ended.is_none() {
        child.kill().expect("a kill");
    }
    let output = child.wait_with_output().expect("its output");
    assert!(
        ended.is_some(),
        "it runs on: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

pub fn lab() -> (Lab, Plan) {
    let plan = Plan::new().expect("the gateway's program");
    (Lab::raise(&plan).expect("a lab"), plan)
}

/// Checks the exit code, that one line tells the fault and its remedy, and that nothing is left.
pub fn check(node: &Node, what: &str, output: &Output, code: i32, named: &[&str], left: &[String]) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{what}: {text}");
    for word in named {
        assert!(text.contains(word), "{what}: nothing about {word:?} in: {text}");
    }
    if code == FAILURE {
        // The program's own last word, beside what it logged on its way.
        let told = text.lines().filter(|line| line.starts_with("gateway: ")).count();
        assert_eq!(told, 1, "{what}: one sentence, not: {text}");
    }
    assert_eq!(node.leftovers().expect("a look"), left, "{what} left something");
}

#[test]
fn starts_that_cannot_succeed_name_the_remedy_and_leave_nothing() {
    let _turn = one_at_a_time();
    let (lab, plan) = lab();
    let node = &lab.nodes()[0];
    let good = node.config();
    let port_taken = node
        .namespace()
        .run(|| std::net::TcpListener::bind("[::]:81").expect("a listener"))
        .expect("a job");
    // What is wrong, the right text, the wrong text, exit code, what the message must name.
    let rows: [(&str, &str, &str, i32, &[&str]); 6] = [
        (
            "no such interface",
            "interfaces = [\"eth0\"]",
            "interfaces = [\"eth7\"]",
            FAILURE,
            &["eth7", "eth0"],
        ),
        (
            "no bpffs",
            "pin_directory = \"/sys/fs/bpf",
            "pin_directory = \"/run/nowhere",
            FAILURE,
            &["bpf"],
        ),
        (
            "admin port taken",
            "127.0.0.1:9900",
            "127.0.0.1:81",
            FAILURE,
            &["81"],
        ),
        (
            "cluster address of another",
            "listen = \"10.77.0.11:7946\"",
            "listen = \"10.77.0.99:7946\"",
            FAILURE,
            &["10.77.0.99"],
        ),
        (
            "unknown key",
            "node_header = true",
            "node_headre = true",
            BAD_CONFIGURATION,
            &["node_headre", "node_header"],
        ),
        (
            "unknown upstream",
            "upstream = \"pool\"",
            "upstream = \"pond\"",
            BAD_CONFIGURATION,
            &["pond"],
        ),
    ];
    for (what, right, wrong, code, named) in rows {
        assert!(good.contains(right), "{what}: {right:?} is in the configuration");
        node.write_config(&good.replacen(right, wrong, 1))
            .expect("a file");
        let output = run(node, User::Root, &plan.program);
        check(node, what, &output, code, named, &[]);
    }
    drop(port_taken);
}

#[test]
fn a_taken_port_is_named_and_nothing_is_left() {
    let _turn = one_at_a_time();
    let (lab, plan) = lab();
    let node = &lab.nodes()[0];
    let taken = node
        .namespace()
        .run(|| std::net::TcpListener::bind("[::]:80").expect("a listener"))
        .expect("a job");
    let output = run(node, User::Root, &plan.program);
    check(node, "port taken", &output, FAILURE, &["80"], &[]);
    drop(taken);
}

#[test]
fn several_faults_of_a_configuration_are_told_at_once() {
    let _turn = one_at_a_time();
    let (lab, plan) = lab();
    let node = &lab.nodes()[0];
    let bad = node
        .config()
        .replacen("weight = 1", "weight = 0", 1)
        .replacen("steering = \"flow-hash\"", "steering = \"flow-hsah\"", 1)
        .replacen("upstream = \"pool\"", "upstream = \"pond\"", 1);
    node.write_config(&bad).expect("a file");
    let output = run(node, User::Root, &plan.program);
    check(
        node,
        "three faults",
        &output,
        BAD_CONFIGURATION,
        &["weight", "flow-hsah", "pond"],
        &[],
    );
}

#[test]
fn without_root_the_data_plane_is_refused_with_the_remedy() {
    let _turn = one_at_a_time();
    let (lab, _) = lab();
    let node = &lab.nodes()[0];
    // Where `nobody` may read it: a home directory may be closed to others.
    let program = lab.directory().join("gateway");
    std::fs::copy(Plan::new().expect("a plan").program, &program).expect("a copy");
    let own = lab.directory().join("nobody");
    std::fs::create_dir(&own).expect("a directory");
    std::os::unix::fs::chown(&own, Some(NOBODY), Some(NOBODY)).expect("a new owner");
    // Without a cluster, as its key is root's; with its own token file, and a port that anyone may take.
    let config = node.config();
    let (head, rest) = config.split_once("[cluster]").expect("a cluster table");
    let (_, tail) = rest.split_once("[defaults]").expect("a table after it");
    let config = format!("{head}[defaults]{tail}")
        .replace(
            &node.files().token.display().to_string(),
            &own.join("token").display().to_string(),
        )
        .replace("[::]:80", "[::]:8000")
        .replace("ports = [80]", "ports = [8000]");
    node.write_config(&config).expect("a file");
    let output = run(node, User::Nobody, &program);
    check(node, "not root", &output, FAILURE, &["root"], &[]);
}

/// How the first of two gateways of a node ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Stop,
    Kill,
}

#[test]
fn a_second_gateway_of_the_same_node_waits_for_the_first_and_goes_on_when_that_ends() {
    let _turn = one_at_a_time();
    let (lab, plan) = lab();
    let node = &lab.nodes()[0];
    for ending in [Ending::Stop, Ending::Kill] {
        node.start().expect("a start");
        node.wait_ready().expect("a ready node");
        let first = node.pid().expect("a process");
        let there = node.leftovers().expect("a look");
        let before = std::fs::read_to_string(&node.files().stderr)
            .expect("what it said")
            .len();
        let said = || {
            let said = std::fs::read_to_string(&node.files().stderr).expect("what it said");
            said.get(before..).unwrap_or_default().to_owned()
        };
        let log = std::fs::File::options().append(true).open(&node.files().stderr);
        let mut command = Command::new(&plan.program);
        command.arg("run").arg("--config").arg(&node.files().config);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a file"));
        let mut second = node.spawn(command).expect("a process");
        let named = wait_until(Instant::now() + PATIENCE, || {
            said().contains(&format!("process {first} ")).then_some(())
        });
        assert!(
            named.is_some(),
            "{ending:?}: nothing about process {first}: {}",
            said()
        );
        node.wait_ready().expect("the first runs on");
        assert_eq!(
            node.leftovers().expect("a look"),
            there,
            "the second touched something"
        );
        assert!(
            second.try_wait().expect("a look at the process").is_none(),
            "{}",
            said()
        );
        match ending {
            Ending::Stop => assert!(node.stop().expect("an end").success()),
            Ending::Kill => drop(node.kill().expect("a kill")),
        }
        let ready = wait_until(Instant::now() + READY_TIMEOUT, || {
            let ready = node.admin(Method::GET, "/readyz");
            ready
                .is_ok_and(|answer| answer.status().is_success())
                .then_some(())
        });
        assert!(ready.is_some(), "{ending:?}: the second is not ready: {}", said());
        let takes_up = said().contains("steering goes on over the maps");
        assert_eq!(takes_up, matches!(ending, Ending::Kill), "{}", said());
        let pid = i32::try_from(second.id()).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("a signal");
        assert!(second.wait().expect("an end").success(), "{}", said());
        assert_eq!(
            node.leftovers().expect("a look"),
            Vec::<String>::new(),
            "{ending:?}"
        );
    }
}

#[test]
fn a_kernel_without_type_information_is_named_with_the_remedy() {
    let _turn = one_at_a_time();
    let (lab, plan) = lab();
    let node = &lab.nodes()[0];
    let output = run(node, User::RootWithoutBtf, &plan.program);
    check(
        node,
        "no BTF",
        &output,
        FAILURE,
        &["BTF", "CONFIG_DEBUG_INFO_BTF=y"],
        &[],
    );
}
