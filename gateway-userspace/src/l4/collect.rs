//! The kernel's counters as metrics: by reason, by VIP, by the node that packets were sent to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gateway_common::abi::Count;
use gateway_common::tables::Noted;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::counters::{Counters, ReasonCount};
use super::dataplane::{Attachment, State};
use super::deny::Told;
use super::interfaces::Mode;
use super::trace::Tracer;

/// Names of what the kernel counts by number.
#[derive(Debug, Default)]
pub struct Names {
    /// VIPs.
    pub vips: BTreeMap<u16, String>,
    /// Nodes.
    pub nodes: BTreeMap<u16, String>,
}

/// The counters and their names, shared by the data plane and the metrics.
#[derive(Debug)]
pub struct Collected {
    /// In the kernel.
    pub counters: Counters,
    names: Mutex<Names>,
    without_table: AtomicUsize,
    interfaces: Mutex<Vec<Attachment>>,
    /// How far the lists of prefixes are.
    pub lists: Arc<Told>,
}

impl Collected {
    /// Counters without names yet.
    pub fn new(counters: Counters, lists: Arc<Told>) -> Arc<Self> {
        Arc::new(Self {
            counters,
            names: Mutex::default(),
            without_table: AtomicUsize::new(0),
            interfaces: Mutex::default(),
            lists,
        })
    }

    /// Says how many VIP keys go by the table of all members for want of one of their own, of so many tables; logs it
    /// once for each change.
    pub fn tell_without_table(&self, keys: usize, tables: u32) {
        let told = self.without_table.swap(keys, Ordering::Relaxed);
        if keys > 0 && keys != told {
            tracing::warn!(
                keys,
                tables,
                "the steering tables are used up: some VIPs go by the table of all nodes, which pass on what they do not \
                 serve; raise dataplane.tables"
            );
        }
    }

    /// Says how the interfaces are now.
    pub fn tell_interfaces(&self, interfaces: &[Attachment]) {
        let mut known = self.interfaces.lock().unwrap_or_else(PoisonError::into_inner);
        interfaces.clone_into(&mut known);
    }

    /// The names; each change of configuration or view writes them anew.
    pub fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Encodes all of `l4` at each scrape.
#[derive(Debug)]
pub struct L4(pub Arc<Collected>, pub Arc<Tracer>);

impl Collector for L4 {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let without_table = self.0.without_table.load(Ordering::Relaxed);
        encoder
            .encode_descriptor(
                "gateway_vips_without_table",
                "VIP ports that go by the table of all nodes, for dataplane.tables are used up",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&i64::try_from(without_table).unwrap_or(i64::MAX))?;
        encoder
            .encode_descriptor(
                "gateway_traces",
                "Traces of packets that run, that of [trace] among them",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&i64::try_from(self.1.running()).unwrap_or(i64::MAX))?;
        self.lists(&mut encoder)?;
        self.interfaces(&mut encoder)?;
        // A map that cannot be read has no figures: zero would be a lie.
        let Ok(reasons) = self.0.counters.reasons() else {
            return Ok(());
        };
        let mut packets = describe(
            &mut encoder,
            "gateway_packets",
            "Frames by what became of them, and why",
        )?;
        for count in &reasons {
            add(
                &mut packets,
                &[("action", count.action), ("reason", count.reason)],
                count.packets,
            )?;
        }
        let mut bytes = describe(
            &mut encoder,
            "gateway_packet_bytes",
            "Bytes of these frames, Ethernet included",
        )?;
        for count in &reasons {
            add(
                &mut bytes,
                &[("action", count.action), ("reason", count.reason)],
                count.bytes,
            )?;
        }
        let names = self.0.names();
        let counters = &self.0.counters;
        let by_vip = names
            .vips
            .iter()
            .filter_map(|(id, name)| Some((name.clone(), counters.vip(*id, &reasons).ok()?)));
        let by_vip: Vec<_> = by_vip.collect();
        let by_node = names
            .nodes
            .iter()
            .filter_map(|(id, name)| Some((name.clone(), counters.node(*id).ok()?)));
        let by_node: Vec<_> = by_node.collect();
        drop(names);
        let figures = [
            Figure::<ReasonCount> {
                name: "gateway_vip_packets",
                help: "Frames for a VIP, by what became of them, and why",
                of: |count| count.packets,
            },
            Figure {
                name: "gateway_vip_packet_bytes",
                help: "Bytes of these frames, Ethernet included",
                of: |count| count.bytes,
            },
        ];
        for Figure { name, help, of } in figures {
            let mut metric = describe(&mut encoder, name, help)?;
            for (vip, counts) in &by_vip {
                for count in counts {
                    let labels = [
                        ("vip", vip.as_str()),
                        ("action", count.action),
                        ("reason", count.reason),
                    ];
                    add(&mut metric, &labels, of(count))?;
                }
            }
        }
        let figures = [
            Figure::<Count> {
                name: "gateway_steered_packets",
                help: "Frames sent to another node",
                of: |count| count.packets,
            },
            Figure {
                name: "gateway_steered_packet_bytes",
                help: "Bytes of these frames as they came, Ethernet included",
                of: |count| count.bytes,
            },
        ];
        for Figure { name, help, of } in figures {
            let mut metric = describe(&mut encoder, name, help)?;
            for (node, count) in &by_node {
                add(&mut metric, &[("node", node.as_str())], of(count))?;
            }
        }
        Ok(())
    }
}

impl L4 {
    /// The interfaces, and what they are good for.
    fn interfaces(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut up = encoder.encode_descriptor(
            "gateway_interface_up",
            "1 for an interface that the kernel program is on, and that frames get through; else 0",
            None,
            MetricType::Gauge,
        )?;
        let known = self.0.interfaces.lock().unwrap_or_else(PoisonError::into_inner);
        for one in known.iter() {
            let mode = match one.state.mode() {
                Some(Mode::Native) => "native",
                Some(Mode::Generic) => "generic",
                Some(Mode::Other) => "other",
                None => "none",
            };
            let is_up = matches!(one.state, State::Attached(_));
            up.encode_family(&[("interface", one.name.as_str()), ("mode", mode)])?
                .encode_gauge(&i64::from(is_up))?;
        }
        Ok(())
    }

    /// The lists of prefixes, and what is counted beside reasons.
    fn lists(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let told = &self.0.lists;
        for (name, help, value) in [
            (
                "gateway_denied_prefixes",
                "Prefixes that are denied in the kernel",
                &told.denied,
            ),
            (
                "gateway_allowed_prefixes",
                "Prefixes that are never denied",
                &told.allowed,
            ),
            (
                "gateway_prefixes_waiting",
                "Changes of these lists that wait to be written",
                &told.waiting,
            ),
            (
                "gateway_prefixes_refused",
                "Prefixes that the kernel did not take",
                &told.refused,
            ),
        ] {
            encoder
                .encode_descriptor(name, help, None, MetricType::Gauge)?
                .encode_gauge(&i64::try_from(value.load(Ordering::Relaxed)).unwrap_or(i64::MAX))?;
        }
        for (noted, name, help) in [
            (
                Noted::FlowSpared,
                "gateway_connections_not_remembered",
                "New connections beyond what their source or VIP may have remembered",
            ),
            (
                Noted::SourceSpread,
                "gateway_connections_spread",
                "New connections of sources with more than their share of a VIP",
            ),
        ] {
            if let Ok(count) = self.0.counters.noted(noted) {
                describe(encoder, name, help)?.encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
            }
        }
        Ok(())
    }
}

/// A metric of what is counted.
struct Figure<C> {
    name: &'static str,
    help: &'static str,
    of: fn(&C) -> u64,
}

fn describe<'e>(
    encoder: &'e mut DescriptorEncoder<'_>,
    name: &'e str,
    help: &'e str,
) -> Result<MetricEncoder<'e>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, MetricType::Counter)
}

fn add<S: EncodeLabelSet>(metric: &mut MetricEncoder<'_>, labels: &S, value: u64) -> fmt::Result {
    metric
        .encode_family(labels)?
        .encode_counter::<NoLabelSet, u64, u64>(&value, None)
}
