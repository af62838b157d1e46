//! What the facts of a machine mean for a node: pure, so that tables can show what no machine at hand has.

mod interface;
mod machine;

use super::facts::Facts;
use super::{Asked, Finding, Level};

/// All that is to be said of a machine: first of itself, then of each interface, then of the VIPs.
pub fn judge(asked: &Asked<'_>, facts: &Facts) -> Vec<Finding> {
    let mut findings = machine::judge(facts);
    for interface in &facts.interfaces {
        findings.extend(interface::judge(asked, interface));
    }
    findings.extend(addresses(asked, facts));
    findings
}

/// VIPs that somebody else gave to an interface.
fn addresses(asked: &Asked<'_>, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for address in &facts.addresses {
        let Some(vip) = asked.vip(address.address) else {
            continue;
        };
        let (name, ip, interface) = (&vip.name, address.address, &address.interface);
        let prefix = if ip.is_ipv4() { 32 } else { 128 };
        let (found, remedy) = if interface != "lo" {
            let found = format!(
                "VIP {name} ({ip}) is an address of {interface}: the kernel answers for it beside the node that is to, and \
                 sends from it"
            );
            let remedy =
                format!("take it off with `ip address del {ip} dev {interface}`; the gateway puts it on lo");
            (found, remedy)
        } else if !address.is_deprecated {
            let found = format!(
                "VIP {name} ({ip}) is on lo with a preferred lifetime: connections may begin from it"
            );
            let remedy = format!(
                "take it off with `ip address del {ip}/{prefix} dev lo`, and whatever put it there: the gateway puts it \
                 there with preferred_lft 0"
            );
            (found, remedy)
        } else {
            continue;
        };
        findings.push(bad("vip-address", Level::Warning, Some(interface), found, remedy));
    }
    if findings.is_empty() {
        let found = "no VIP is where the kernel would answer for it or send from it".to_owned();
        findings.push(good("vip-address", None, found));
    }
    findings
}

fn good(check: &'static str, interface: Option<&str>, found: String) -> Finding {
    Finding {
        check,
        interface: interface.map(str::to_owned),
        level: Level::Good,
        found,
        remedy: None,
    }
}

fn bad(
    check: &'static str,
    level: Level,
    interface: Option<&str>,
    found: impl Into<String>,
    remedy: impl Into<String>,
) -> Finding {
    Finding {
        check,
        interface: interface.map(str::to_owned),
        level,
        found: found.into(),
        remedy: Some(remedy.into()),
    }
}

#[cfg(test)]
mod tests;
