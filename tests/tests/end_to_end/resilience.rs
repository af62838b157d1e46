//! What clients see of upstreams that refuse, hang, break off, lie, fail, flap, die and lose their address.
//!
//! The real program on loopback, real servers behind it that misbehave, clients that ask at a steady rate. First what
//! the tests stand on, then the tests: one fault at a time, one of three, all three, faults that come and go, and edits
//! of the configuration meanwhile. Where clients must see nothing at all, the retry budget has room for all of them, so
//! that no figure depends on how busy the machine is.

#[path = "resilience/load.rs"]
mod load;
#[path = "resilience/scene.rs"]
mod scene;

#[path = "resilience/faults.rs"]
mod faults;

#[path = "resilience/one_of_three.rs"]
mod one_of_three;

#[path = "resilience/all_dead.rs"]
mod all_dead;

#[path = "resilience/flapping.rs"]
mod flapping;

#[path = "resilience/edits.rs"]
mod edits;

#[path = "resilience/told.rs"]
mod told;

#[path = "resilience/lost_address.rs"]
mod lost_address;
