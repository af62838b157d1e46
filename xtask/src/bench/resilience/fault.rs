//! The faults, as `--only` and `gateway-resilience` name them. What each does is `gateway-tests`' knowledge.

use clap::ValueEnum;

/// What goes wrong with one of three upstream servers.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Fault {
    /// It refuses connections
    Refuses,
    /// It accepts, and never answers
    Hangs,
    /// It resets in the middle of bodies
    ResetsInBody,
    /// It answers slowly
    Slow,
    /// It answers 500 to three of ten requests
    #[value(name = "500-at-30-percent")]
    Fails,
    /// It answers 14 to three of ten gRPC calls
    #[value(name = "grpc-14-at-30-percent")]
    CallsFail,
    /// It lies about the length of bodies
    Lies,
    /// It dies and comes back, again and again
    DiesAndComesBack,
    /// It loses its address
    LosesAddress,
}

impl Fault {
    /// In the order in which they are measured.
    pub const ALL: [Self; 9] = [
        Self::Refuses,
        Self::Hangs,
        Self::ResetsInBody,
        Self::Slow,
        Self::Fails,
        Self::CallsFail,
        Self::Lies,
        Self::DiesAndComesBack,
        Self::LosesAddress,
    ];

    /// Its name, in options and in the output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refuses => "refuses",
            Self::Hangs => "hangs",
            Self::ResetsInBody => "resets-in-body",
            Self::Slow => "slow",
            Self::Fails => "500-at-30-percent",
            Self::CallsFail => "grpc-14-at-30-percent",
            Self::Lies => "lies",
            Self::DiesAndComesBack => "dies-and-comes-back",
            Self::LosesAddress => "loses-address",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_output_call_a_fault_by_one_name() {
        assert_eq!(Fault::value_variants(), Fault::ALL);
        for fault in Fault::ALL {
            assert_eq!(fault.to_possible_value().unwrap().get_name(), fault.name());
        }
    }
}
