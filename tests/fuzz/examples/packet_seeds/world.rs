//! The worlds of `decide`'s seeds.

use gateway_fuzz::steering::world::NODES;

use super::GUE;

/// A world in which all nodes have the same slot, and the first gets the frame.
#[derive(Clone, Copy)]
pub struct Seed {
    pub encapsulation: u8,
    pub lacks: [u8; NODES as usize],
    pub mtu: u8,
    pub odd: u8,
    /// Owner, previous owners, successor.
    pub slot: [u16; 4],
    pub sockets: [u8; NODES as usize],
    pub flow: u8,
    pub fragment: u8,
    pub lease: u8,
    pub headroom: u8,
}

/// The owner is the second node, and nothing is odd.
pub const SEED: Seed = Seed {
    encapsulation: GUE,
    lacks: [0; 4],
    mtu: 0,
    odd: 0,
    slot: [2, 3, 4, 3],
    sockets: [0; 4],
    flow: 0,
    fragment: 0,
    lease: 0,
    headroom: 0,
};

impl Seed {
    /// That frame.
    pub fn with(self, frame: &[u8]) -> Vec<u8> {
        let mut bytes = self.before();
        bytes.push(1);
        bytes.extend(frame);
        bytes
    }

    /// A frame of parts: `choices` of `packets::frame` behind its first.
    pub fn made_of(self, choices: &[u8]) -> Vec<u8> {
        let mut bytes = self.before();
        bytes.push(0);
        bytes.extend(choices);
        bytes
    }

    fn before(self) -> Vec<u8> {
        let mut bytes = vec![self.encapsulation];
        bytes.extend(self.lacks);
        bytes.extend([self.mtu, self.odd]);
        for sockets in self.sockets {
            let [owner, first, second, successor] = self.slot;
            let word = owner | first << 3 | second << 6 | successor << 9;
            bytes.extend([word; 4].map(u16::to_be_bytes).concat());
            bytes.extend([sockets, self.flow, self.fragment, self.lease]);
        }
        bytes.extend([0, self.headroom]);
        bytes
    }
}
