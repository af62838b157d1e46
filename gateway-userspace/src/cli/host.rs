//! `gateway check --host`: what a configuration finds on this machine.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use gateway::l4::host::{Asked, Finding, Level, judge, look};
use serde_json::json;

use super::table::{Cell, Style, Table, Tone};
use super::{EXIT_FAILED, Form, check, print};

/// Checks a file, then the machine, and prints what was found: exit status 1 where the node would not start, or lose
/// packets.
///
/// # Errors
/// [`Refused`](gateway::config::Refused), for people; and where the kernel does not answer.
pub fn host(config: &Path, form: Form) -> anyhow::Result<ExitCode> {
    let settings = match gateway::config::load(config) {
        Ok(settings) => settings,
        Err(_) => return check::check(config, form),
    };
    let findings = match Asked::by(&settings) {
        None => Vec::new(),
        Some(asked) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("cannot make a runtime")?;
            judge::judge(&asked, &runtime.block_on(look::look(&asked))?)
        }
    };
    let is_ok = findings.iter().all(|finding| finding.level != Level::Fault);
    let text = match form {
        Form::Json => format!("{:#}\n", json!({ "ok": is_ok, "findings": findings })),
        Form::Text(_) if settings.dataplane.is_none() => {
            "the configuration has no [dataplane]: it asks nothing of this machine's kernel\n".to_owned()
        }
        Form::Text(style) => table(&findings, style),
    };
    print(&text)?;
    Ok(if is_ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_FAILED)
    })
}

fn table(findings: &[Finding], style: Style) -> String {
    let mut table = Table::new(&["", "check", "interface", "found"]);
    for finding in findings {
        let (word, tone) = match finding.level {
            Level::Good => ("good", Tone::Good),
            Level::Warning => ("warning", Tone::Doubtful),
            Level::Fault => ("fault", Tone::Bad),
        };
        table.row([
            Cell(word.to_owned(), tone),
            finding.check.into(),
            finding.interface.as_deref().unwrap_or("").into(),
            finding.found.as_str().into(),
        ]);
        if let Some(remedy) = &finding.remedy {
            table.row(["".into(), "".into(), "".into(), format!("→ {remedy}").into()]);
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (faults, warnings) = (count(Level::Fault), count(Level::Warning));
    let (verdict, tone) = match (faults, warnings) {
        (0, 0) => ("this machine is as the gateway wants it".to_owned(), Tone::Good),
        (0, _) => (
            format!("the node runs here, with {warnings} warnings"),
            Tone::Doubtful,
        ),
        _ => (
            format!("{faults} faults keep the node from running, or lose packets; {warnings} warnings"),
            Tone::Bad,
        ),
    };
    format!("{}\n{}\n", table.text(style), style.paint(&verdict, tone))
}
