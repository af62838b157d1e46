//! Test support: packet cases and the lab.
