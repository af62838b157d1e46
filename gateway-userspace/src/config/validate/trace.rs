//! `[trace]`.

use gateway_common::prefix::Prefix;

use super::names::Names;
use crate::config::given::Given;
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::trace::Wish;

/// What is sampled; `None`: nothing.
pub fn trace(given: &Given, problems: &mut Problems<'_>) -> Option<Wish> {
    let trace = given.trace.as_ref()?;
    let path = KeyPath::top("trace");
    if given.dataplane.is_none() {
        let fault = "the data plane tells of packets, and there is no [dataplane]";
        problems.add(
            &path,
            fault,
            "add [dataplane] with its interfaces, or remove the table",
        );
    }
    if let Some(name) = &trace.vip {
        let mut names = Names::new("vip");
        let vips = given.vip.iter().flatten();
        names.expect(vips.filter_map(|vip| vip.name.as_ref()));
        names.resolves(name, &path.key("vip"), problems);
    }
    Some(Wish {
        address: trace
            .address
            .as_ref()
            .and_then(|network| Prefix::new(network.0.addr(), network.0.prefix_len())),
        vip: trace.vip.clone(),
        sample: trace.sample.unwrap_or(limits::TRACE_SAMPLE),
        rate: trace.rate.unwrap_or(limits::TRACE_LOG_RATE),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::load::load_text;
    use super::super::super::surroundings::{Invalid, Surroundings};
    use super::*;
    use crate::config::problem::Refused;

    const NODE: &str =
        "[node]\nname='a'\naddress='10.0.0.1'\n[[listener]]\nname='web'\naddress='127.0.0.1:8080'\n";
    const VIP: &str = "[dataplane]\ninterfaces=['eth0']\n[[vip]]\nname='dns'\naddress='203.0.113.9'\nports=[53]\n\
                       protocol='udp'\n";

    fn loaded(text: &str) -> Result<crate::config::Settings, Refused> {
        let surroundings = Surroundings {
            cores: 1,
            state_directory: "/state".into(),
            invalid: Invalid::Refused,
        };
        load_text(Path::new("t.toml"), text, &surroundings)
    }

    #[test]
    fn nothing_is_sampled_unless_it_is_said() {
        let wish = |more: &str| loaded(&format!("{NODE}{VIP}{more}")).unwrap().trace;
        assert_eq!(wish(""), None);
        let usual = Wish {
            address: None,
            vip: None,
            sample: limits::TRACE_SAMPLE,
            rate: limits::TRACE_LOG_RATE,
        };
        assert_eq!(wish("[trace]\n"), Some(usual.clone()));
        let said = wish("[trace]\nsample=5\nrate=7\naddress='198.51.100.0/24'\nvip='dns'\n");
        let said = said.unwrap();
        assert_eq!((said.sample, said.rate, said.vip.as_deref()), (5, 7, Some("dns")));
        assert_eq!(said.address.unwrap().to_string(), "198.51.100.0/24");
    }

    #[test]
    fn what_cannot_be_sampled_is_refused_all_at_once() {
        let text = format!("{NODE}[trace]\nsample=0\n");
        Refused::expect(
            loaded(&text),
            &text,
            &[
                "trace: the data plane tells of packets, and there is no [dataplane]; add",
                "trace.sample: 0 is out of range",
            ],
        );
        let text = format!("{NODE}{VIP}[trace]\nvip='dn'\naddress='198.51.100.0/33'\n");
        Refused::expect(
            loaded(&text),
            &text,
            &[
                "trace.vip: there is no vip \"dn\"; did you mean \"dns\"?",
                "trace.address: ",
            ],
        );
    }
}
