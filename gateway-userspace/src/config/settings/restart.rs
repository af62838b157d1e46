//! What a reload cannot change.

use super::Settings;

impl Settings {
    /// Tables and keys in which `next` differs and that a running node cannot take over: they want a restart.
    pub fn restart_needed(&self, next: &Self) -> Vec<&'static str> {
        let (node, other) = (&self.node, &next.node);
        let differences = [
            ("node.name", node.name != other.name),
            ("node.address", node.address != other.address),
            ("node.address_v6", node.address_v6 != other.address_v6),
            ("node.workers", node.workers != other.workers),
            // It must fit the limit of open files, which is looked at when the node starts.
            (
                "node.connections_max",
                node.connections_max != other.connections_max,
            ),
            ("admin", self.admin != next.admin),
            ("dataplane", self.dataplane != next.dataplane),
            ("cluster", self.cluster != next.cluster),
        ];
        differences
            .into_iter()
            .filter(|(_, differs)| *differs)
            .map(|(name, _)| name)
            .collect()
    }
}
