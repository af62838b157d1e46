//! One turn of `cargo xtask bench resilience`: one proxy through one fault of one of its three upstream servers.
//!
//! Reading order: `fault` (what goes wrong), `scene` (where: two network namespaces and a cable), `subject` (who),
//! `load` over `call` (what a client sees), `figures`, `turn` (all of it in order). Rounds, medians and verdicts are
//! `xtask`'s.

pub mod call;
pub mod fault;
pub mod figures;
pub mod load;
pub mod scene;
pub mod subject;
pub mod turn;
