//! Configuration: load, validate (all problems at once), compile, snapshot.

pub mod snapshot;
