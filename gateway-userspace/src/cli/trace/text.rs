//! Packets as lines for people, which line up as long as nothing is wider than what came before.

use std::net::IpAddr;

use gateway::trace::{Counts, Packet};

use crate::cli::table::{Style, Tone};

/// Headings, and the width that each column has at least. What stands last needs none.
const COLUMNS: [(&str, usize); 9] = [
    ("time", 15),
    ("protocol", 8),
    ("source", 21),
    ("destination", 21),
    ("flags", 5),
    ("bytes", 5),
    ("VIP", 10),
    ("verdict", 11),
    ("reason", 18),
];

/// Characters of an IPv6 address in brackets, and a port, as most are.
const IPV6_CHARS: usize = 30;

/// Lines of a table of which nobody knows the end.
pub(super) struct Lines {
    widths: [usize; COLUMNS.len()],
    has_head: bool,
}

impl Lines {
    /// None yet; `like`: an address of the family that is looked for.
    pub(super) fn new(like: Option<IpAddr>) -> Self {
        let mut widths = COLUMNS.map(|(_, width)| width);
        if like.is_some_and(|address| address.is_ipv6()) {
            (widths[2], widths[3]) = (IPV6_CHARS, IPV6_CHARS);
        }
        Self {
            widths,
            has_head: false,
        }
    }

    /// The line of a packet; before the first one stand the headings.
    pub(super) fn packet(&mut self, packet: &Packet, style: Style) -> String {
        let mut text = String::new();
        if !self.has_head {
            self.has_head = true;
            text.push_str(&self.line(
                COLUMNS.map(|(head, _)| (head, Tone::Head)),
                ("path", Tone::Head),
                style,
            ));
        }
        let tone = match packet.verdict.as_str() {
            "drop" => Tone::Bad,
            "answer-echo" | "answer-too-big" => Tone::Doubtful,
            _ => Tone::Good,
        };
        let bytes = packet.bytes.to_string();
        let (flags, vip) = (packet.flags.as_deref(), packet.vip.as_deref());
        let cells = [
            (clock(&packet.time), Tone::Plain),
            (&packet.protocol, Tone::Plain),
            (&packet.source, Tone::Plain),
            (&packet.destination, Tone::Plain),
            (flags.unwrap_or("-"), Tone::Plain),
            (&bytes, Tone::Plain),
            (vip.unwrap_or("-"), Tone::Plain),
            (&packet.verdict, tone),
            (&packet.reason, Tone::Plain),
        ];
        text.push_str(&self.line(cells, (&path(packet), Tone::Plain), style));
        text
    }

    fn line(
        &mut self,
        cells: [(&str, Tone); COLUMNS.len()],
        (last, tone): (&str, Tone),
        style: Style,
    ) -> String {
        let mut line = String::new();
        for ((cell, tone), width) in cells.into_iter().zip(&mut self.widths) {
            let chars = cell.chars().count();
            *width = chars.max(*width);
            line.push_str(&style.paint(cell, tone));
            line.push_str(&" ".repeat(*width - chars + 2));
        }
        line.push_str(&style.paint(last, tone));
        line.push('\n');
        line
    }
}

/// The time of day, to the microsecond.
fn clock(time: &str) -> &str {
    let day = time.split_once('T').map_or(time, |(_, day)| day);
    day.get(..15).unwrap_or(day)
}

/// From whom the packet came, by which node, and to whom it goes.
fn path(packet: &Packet) -> String {
    let mut places = Vec::new();
    match (&packet.from, &packet.vip) {
        (Some(from), _) => {
            places.push("client");
            if packet.hops > 1 {
                places.push("…");
            }
            places.push(from);
        }
        (None, Some(_)) => places.push("client"),
        // Not for a VIP: nobody's client.
        (None, None) => places.push(&packet.interface),
    }
    places.push(&packet.node);
    places.extend(packet.to.as_deref());
    let path = places.join(" > ");
    match &packet.about {
        Some(about) => format!("{path}, about {about}"),
        None => path,
    }
}

/// What stands at the end.
pub(super) fn counts(counts: &Counts) -> String {
    let Counts {
        seen,
        sampled,
        limited,
        lost,
    } = counts;
    format!("{seen} packets seen, {sampled} sampled, {limited} kept back by the rate, {lost} lost\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> Packet {
        Packet {
            time: "2026-01-31T15:04:05.123456789Z".to_owned(),
            verdict: "send".to_owned(),
            reason: "to-owner".to_owned(),
            vip: Some("public".to_owned()),
            protocol: "tcp".to_owned(),
            source: "198.51.100.7:40000".to_owned(),
            destination: "203.0.113.10:443".to_owned(),
            flags: Some("S".to_owned()),
            about: None,
            bytes: 74,
            interface: "eth0".to_owned(),
            from: None,
            hops: 0,
            node: "gw-1".to_owned(),
            to: Some("gw-2".to_owned()),
            frame: None,
        }
    }

    #[test]
    fn lines_line_up_with_colours_and_without() {
        let mut dropped = packet();
        (dropped.verdict, dropped.reason, dropped.to) = ("drop".to_owned(), "denied".to_owned(), None);
        let mut lines = Lines::new(None);
        let plain = lines.packet(&packet(), Style::Plain) + &lines.packet(&dropped, Style::Plain);
        assert_eq!(
            plain,
            "time             protocol  source                 destination            flags  bytes  VIP         verdict      reason              path\n\
             15:04:05.123456  tcp       198.51.100.7:40000     203.0.113.10:443       S      74     public      send         to-owner            client > gw-1 > gw-2\n\
             15:04:05.123456  tcp       198.51.100.7:40000     203.0.113.10:443       S      74     public      drop         denied              client > gw-1\n"
        );
        let mut lines = Lines::new(None);
        let coloured = lines.packet(&dropped, Style::Coloured);
        assert!(
            coloured.contains("\x1b[31mdrop\x1b[0m         denied"),
            "{coloured}"
        );
        let head = Lines::new(Some("::".parse().unwrap())).packet(&packet(), Style::Plain);
        assert!(
            head.contains(&format!("source{}destination", " ".repeat(IPV6_CHARS - 4))),
            "{head}"
        );
    }

    #[test]
    fn a_path_says_who_sent_the_packet_and_who_gets_it() {
        let of = |change: &dyn Fn(&mut Packet)| {
            let mut packet = packet();
            change(&mut packet);
            path(&packet)
        };
        let from = |packet: &mut Packet, hops| {
            packet.from = Some("gw-3".to_owned());
            packet.hops = hops;
        };
        assert_eq!(of(&|_| {}), "client > gw-1 > gw-2");
        assert_eq!(of(&|packet| packet.to = None), "client > gw-1");
        assert_eq!(of(&|packet| from(packet, 1)), "client > gw-3 > gw-1 > gw-2");
        assert_eq!(of(&|packet| from(packet, 2)), "client > … > gw-3 > gw-1 > gw-2");
        let stranger = of(&|packet| (packet.vip, packet.to) = (None, None));
        assert_eq!(stranger, "eth0 > gw-1");
        let error = of(&|packet| packet.about = Some("tcp a > b".to_owned()));
        assert_eq!(error, "client > gw-1 > gw-2, about tcp a > b");
    }
}
