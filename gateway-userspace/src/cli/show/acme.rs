//! Certificates that are had by ACME, as `gateway status` shows them.

use gateway::admin::status::AcmeCertificate;

use super::super::table::{Cell, Table, Tone};

/// One row each.
pub fn table(certificates: &[AcmeCertificate]) -> Table {
    let mut table = Table::new(&["ACME certificate", "valid until", "next order", "last order"]);
    for certificate in certificates {
        let until = match &certificate.valid_until {
            Some(until) => Cell(until.clone(), Tone::Good),
            None => Cell("none yet".to_owned(), Tone::Bad),
        };
        let next = certificate.next_order.as_ref();
        let last = match &certificate.last_order {
            Some(order) => {
                let tone = if order.outcome == "issued" {
                    Tone::Good
                } else {
                    Tone::Bad
                };
                Cell(format!("{} at {}: {}", order.outcome, order.at, order.why), tone)
            }
            None => Cell("none".to_owned(), Tone::Plain),
        };
        table.row([
            certificate.names.join(", ").into(),
            until,
            next.map_or("now", String::as_str).into(),
            last,
        ]);
    }
    table
}
