//! `ip_allow` and `ip_deny`: who may ask, by the client's address.

use super::{Asked, Denial, Step};
use crate::config::snapshot::Networks;

/// Networks, and what being in one means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Not empty.
    pub networks: Networks,
    /// What becomes of clients that are in one.
    pub rule: Rule,
}

/// What becomes of a client in one of the networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It passes; all others are refused.
    Allow,
    /// It is refused; all others pass.
    Deny,
}

impl Addresses {
    /// Looks at the client.
    pub fn request(&self, asked: &Asked<'_>) -> Step {
        let is_in = self.networks.contains(asked.client);
        match (self.rule, is_in) {
            (Rule::Allow, true) | (Rule::Deny, false) => Step::Next,
            (Rule::Allow, false) | (Rule::Deny, true) => Step::Deny(Denial::ClientDenied),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::asked;

    #[test]
    fn clients_pass_by_their_networks() {
        let networks = ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"];
        let networks = Networks(networks.iter().map(|text| text.parse().unwrap()).collect());
        let rows = [
            ("10.1.2.3", true),
            ("11.1.2.3", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("::ffff:10.1.2.3", true),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
        ];
        for (rule, passes_inside) in [(Rule::Allow, true), (Rule::Deny, false)] {
            let addresses = Addresses {
                networks: networks.clone(),
                rule,
            };
            for (client, is_in) in rows {
                let mut head = http::Request::new(()).into_parts().0;
                let step = addresses.request(&asked(&mut head, client));
                assert_eq!(step == Step::Next, is_in == passes_inside, "{rule:?} {client}");
            }
        }
    }
}
