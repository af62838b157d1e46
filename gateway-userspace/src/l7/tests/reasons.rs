//! The tables of reasons in `docs/http.md`, which cannot say anything else than the program does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::inspect::{Class, Refusal};
use crate::l7::connection::Ending;
use crate::l7::error::ProxyError;

const MARK: &str = "<!-- reasons -->\n";

fn tables() -> String {
    let mut text = String::new();
    let mut row = |line: &str| writeln!(text, "{line}").unwrap();
    row("\n### Requests that failed\n");
    row("| reason | status | fault | what the client is told |\n|---|---|---|---|");
    for error in ProxyError::ALL {
        let (reason, fault) = (error.reason(), error.fault().as_str());
        let status = match error {
            ProxyError::FaultAbort => "the route's".to_owned(),
            ProxyError::AuthRefused => "the service's".to_owned(),
            ProxyError::FaultDelay => "the upstream's, or 504".to_owned(),
            _ => error.status().as_u16().to_string(),
        };
        row(&format!("| `{reason}` | {status} | {fault} | {error} |"));
    }
    row("\n### Heads and bodies that were refused, and responses that were not taken\n");
    row("| reason | status | class | what is wrong | admitted by |\n|---|---|---|---|---|");
    for refusal in Refusal::ALL {
        let class = match refusal.class() {
            Class::Framing => "framing",
            Class::Syntax => "syntax",
        };
        let option = refusal
            .admitted_by()
            .map_or("–".to_owned(), |option| format!("`{option}`"));
        let (reason, status) = (refusal.reason(), refusal.status());
        row(&format!(
            "| `{reason}` | {status} | {class} | {refusal} | {option} |"
        ));
    }
    row("\n### Connections that never made a request\n");
    row("| reason | fault |\n|---|---|");
    for ending in Ending::all() {
        row(&format!(
            "| `{}` | {} |",
            ending.reason(),
            ending.fault().as_str()
        ));
    }
    text
}

#[test]
fn reasons_are_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/http.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (prose, written) = page.split_once(MARK).unwrap();
    let tables = tables();
    if std::env::var_os("GATEWAY_BLESS").is_some() {
        std::fs::write(&path, format!("{prose}{MARK}{tables}")).unwrap();
        return;
    }
    assert!(
        written == tables,
        "docs/http.md is not what the program says; run GATEWAY_BLESS=1 cargo test -p gateway-userspace reasons_are_up_to_date"
    );
}

#[test]
fn a_reason_means_one_thing() {
    let mut meanings: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let errors = ProxyError::ALL
        .iter()
        .map(|error| (error.reason(), error.to_string()));
    let refusals = Refusal::ALL
        .iter()
        .map(|refusal| (refusal.reason(), refusal.to_string()));
    for (reason, meaning) in errors.chain(refusals) {
        meanings.entry(reason).or_default().push(meaning);
    }
    for (reason, meanings) in meanings {
        assert!(
            meanings.iter().all(|meaning| *meaning == meanings[0]),
            "{reason} stands for {meanings:?}"
        );
    }
}
