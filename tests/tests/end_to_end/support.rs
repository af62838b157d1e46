//! What all end-to-end tests share.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use gateway_tests::lab::exchange::exchange;
use gateway_tests::lab::settings::Common;
use gateway_tests::lab::{Lab, Plan};
use gateway_tests::load::connection::NODE_HEADER;
use http::{Request, Response};
use http_body_util::Full;

/// Lets one test at a time have a lab of running nodes.
pub fn one_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A plan for labs whose nodes never run.
pub fn plan_without_nodes() -> Plan {
    Plan {
        weights: [1; 3],
        program: "/nonexistent".into(),
        common: Common::default(),
    }
}

/// A lab whose nodes run and know each other.
pub fn running_lab(weights: [u32; 3]) -> Lab {
    let plan = Plan {
        weights,
        ..Plan::new().expect("the gateway's program")
    };
    let lab = Lab::raise(&plan).expect("a lab");
    lab.start_nodes().expect("three nodes that know each other");
    lab
}

/// A request of the client for `path`, on a connection of its own.
pub fn get(lab: &Lab, target: SocketAddr, path: &str) -> anyhow::Result<Response<Bytes>> {
    let request = Request::get(path).header("host", "lab").body(Full::default())?;
    lab.client().run_async(move || exchange(target, None, request))
}

/// The node that an answer names.
pub fn node_of(answer: &Response<Bytes>) -> String {
    let name = answer
        .headers()
        .get(NODE_HEADER)
        .expect("an answer that names its node");
    name.to_str().expect("a name in ASCII").to_owned()
}

/// Where bpftool is: not everyone's PATH has the folders that it lies in.
pub fn bpftool() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = ["/usr/sbin", "/sbin"].map(PathBuf::from).into_iter();
    folders
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join("bpftool"))
        .find(|program| program.is_file())
        .expect("bpftool: install Debian's package bpftool, or run `cargo xtask test`, which does")
}
