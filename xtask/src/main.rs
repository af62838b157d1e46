//! All automation of the project, called by people, README and CI alike.

fn main() {}
