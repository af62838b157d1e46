//! Configuration: load, validate (all problems at once), compile, snapshot.
//!
//! A file is read as [`given`], checked and resolved to [`Settings`], and joined with the node's state cells to one
//! immutable [`snapshot::Snapshot`]. Nothing here touches the running node; `control` publishes.

pub mod answers;
pub mod compile;
pub mod denied;
pub mod document;
pub mod given;
pub mod kept;
pub mod limits;
pub mod load;
pub mod loops;
pub mod metadata;
pub mod path;
pub mod places;
pub mod precedence;
pub mod problem;
pub mod reference;
pub mod schema;
pub mod settings;
pub mod shape;
pub mod shared;
pub mod snapshot;
pub mod surroundings;
pub mod validate;

pub use answers::Answers;
pub use compile::compile;
pub use load::{load, load_to_start};
pub use places::{Place, Places};
pub use problem::{Problem, Refused};
pub use schema::schema;
pub use settings::Settings;
