//! The demo: real traffic through a VIP while nodes die, lose their link and drain.
//!
//! `scenes` makes it happen, `live` shows it, `owners` finds whose it was, `tally` judges what failed, `report` and `figures` sum it up.

pub mod figures;
pub mod live;
pub mod owners;
pub mod report;
pub mod scenes;
pub mod tally;
