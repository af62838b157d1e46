//! Endpoints as the command line describes them: `a:weight=2,ms=5;b*3:ms=50,fail=0.3`.

use std::str::FromStr;

use super::error::{SimulateError, number};

/// Endpoints of one simulation: more than one upstream has, and few enough for a look at all at each pick.
pub const ENDPOINTS_MAX: usize = 1000;

/// Characters of a name, as in the configuration.
const NAME_CHARS_MAX: usize = 63;

/// The longest time of an endpoint, in milliseconds: an hour.
const MS_MAX: f64 = 3_600_000.0;

/// The shortest: what the clock of the simulation counts.
const MS_MIN: f64 = 0.001;

/// Requests that an endpoint can be given to work on at once.
const SLOTS_MAX: f64 = 100_000.0;

const KEYS: &str = "weight, ms, times, slots, fail and fail_ms are known";

/// One endpoint of a simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// What the table calls it.
    pub name: String,
    /// 1 to 1000.
    pub weight: u32,
    /// Microseconds that it works on a request, in the mean.
    pub mean_us: f64,
    /// How these are spread.
    pub times: Times,
    /// Requests that it works on at once; others wait in the order in which they came.
    pub slots: usize,
    /// The part of its requests that fails, 0 to 1.
    pub fail: f64,
    /// Microseconds that a failure takes.
    pub fail_us: f64,
}

/// How service times are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// All take the same.
    Fixed,
    /// Many take less than the mean, few take long.
    Exponential,
}

impl Endpoint {
    /// One that is well: weight 1, 5 ms in the mean, 64 at once.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            weight: 1,
            mean_us: 5_000.0,
            times: Times::Exponential,
            slots: 64,
            fail: 0.0,
            fail_us: 1_000.0,
        }
    }

    fn set(&mut self, setting: &str, place: &str) -> Result<(), SimulateError> {
        let Some((key, value)) = setting.split_once('=') else {
            let fault = format!("has {:?}, which is no KEY=VALUE", setting.trim());
            return Err(SimulateError::new(place, fault, KEYS));
        };
        let (key, value) = (key.trim(), value.trim());
        let of = format!("{place}: {key}");
        let whole = |high| {
            let number = number(&of, value, 1.0, high, "(whole)")?;
            match number.fract() == 0.0 {
                true => Ok(number),
                false => Err(SimulateError::new(
                    &of,
                    format!("is {value}"),
                    "give a whole number",
                )),
            }
        };
        match key {
            "weight" => self.weight = whole(1000.0)? as u32,
            "slots" => self.slots = whole(SLOTS_MAX)? as usize,
            "ms" => self.mean_us = number(&of, value, MS_MIN, MS_MAX, "milliseconds")? * 1000.0,
            "fail_ms" => self.fail_us = number(&of, value, MS_MIN, MS_MAX, "milliseconds")? * 1000.0,
            "fail" => self.fail = number(&of, value, 0.0, 1.0, "as the part that fails")?,
            "times" => {
                self.times = match value {
                    "fixed" => Times::Fixed,
                    "exponential" => Times::Exponential,
                    _ => {
                        let fault = format!("is {value:?}");
                        return Err(SimulateError::new(of, fault, "give fixed or exponential"));
                    }
                }
            }
            _ => return Err(SimulateError::new(place, format!("has a key {key:?}"), KEYS)),
        }
        Ok(())
    }
}

/// All endpoints of a simulation: at least one, with different names.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoints(pub(super) Vec<Endpoint>);

impl Endpoints {
    /// In the order given.
    pub fn all(&self) -> &[Endpoint] {
        &self.0
    }
}

impl FromStr for Endpoints {
    type Err = SimulateError;

    /// Reads `NAME[*COUNT][:KEY=VALUE,…]`, separated by semicolons.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut all: Vec<Endpoint> = Vec::new();
        let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
        for (index, part) in parts.enumerate() {
            let (head, settings) = part.split_once(':').unwrap_or((part, ""));
            let (name, count) = head.split_once('*').unwrap_or((head, "1"));
            let name = name.trim();
            let place = match name {
                "" => format!("endpoint {}", index + 1),
                _ => format!("endpoint {} ({name:?})", index + 1),
            };
            if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.contains(['=', ',']) {
                let remedy = format!(
                    "begin it with a name of 1 to {NAME_CHARS_MAX} characters, as in a:weight=2,ms=5"
                );
                return Err(SimulateError::new(place, "has no good name", remedy));
            }
            let most = ENDPOINTS_MAX as f64;
            let count = number(
                &format!("{place}: the count after *"),
                count,
                1.0,
                most,
                "endpoints",
            )? as usize;
            if all.len() + count > ENDPOINTS_MAX {
                let remedy = format!("{ENDPOINTS_MAX} may be simulated");
                return Err(SimulateError::new(place, "is one too many", remedy));
            }
            let mut endpoint = Endpoint::new(name);
            for setting in settings.split(',').filter(|setting| !setting.trim().is_empty()) {
                endpoint.set(setting, &place)?;
            }
            for number in 1..=count {
                if count > 1 {
                    endpoint.name = format!("{name}-{number}");
                }
                if all.iter().any(|other| other.name == endpoint.name) {
                    let fault = format!("is the second that is called {:?}", endpoint.name);
                    return Err(SimulateError::new(place, fault, "give each a name of its own"));
                }
                all.push(endpoint.clone());
            }
        }
        match all.is_empty() {
            true => Err(SimulateError::new(
                "the list",
                "has no endpoint",
                "name one, as in a:weight=2,ms=5",
            )),
            false => Ok(Self(all)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_what_the_text_says() {
        let all =
            "a:weight=2, ms=5; b*2:ms=50,fail=0.3,times=fixed,slots=1,fail_ms=0.5;c;".parse::<Endpoints>();
        let b = |name: &str| Endpoint {
            mean_us: 50_000.0,
            fail: 0.3,
            times: Times::Fixed,
            slots: 1,
            fail_us: 500.0,
            ..Endpoint::new(name)
        };
        let a = Endpoint {
            weight: 2,
            ..Endpoint::new("a")
        };
        assert_eq!(all.unwrap().0, [a, b("b-1"), b("b-2"), Endpoint::new("c")]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_remedy() {
        for (text, expected) in [
            ("", "the list has no endpoint; name one, as in a:weight=2,ms=5"),
            (" ; ", "the list has no endpoint; name one, as in a:weight=2,ms=5"),
            (
                "a;:ms=1",
                "endpoint 2 has no good name; begin it with a name of 1 to 63 characters, as in a:weight=2,ms=5",
            ),
            (
                "a:ms",
                "endpoint 1 (\"a\") has \"ms\", which is no KEY=VALUE; weight, ms, times, slots, fail and fail_ms are known",
            ),
            (
                "a:m=1",
                "endpoint 1 (\"a\") has a key \"m\"; weight, ms, times, slots, fail and fail_ms are known",
            ),
            (
                "a:ms=x",
                "endpoint 1 (\"a\"): ms is \"x\", which is no number; give 0.001 to 3600000 milliseconds",
            ),
            (
                "a:ms=NaN",
                "endpoint 1 (\"a\"): ms is NaN, which is out of bounds; give 0.001 to 3600000 milliseconds",
            ),
            (
                "a:weight=0",
                "endpoint 1 (\"a\"): weight is 0, which is out of bounds; give 1 to 1000 (whole)",
            ),
            (
                "a:weight=1.5",
                "endpoint 1 (\"a\"): weight is 1.5; give a whole number",
            ),
            (
                "a:fail=2",
                "endpoint 1 (\"a\"): fail is 2, which is out of bounds; give 0 to 1 as the part that fails",
            ),
            (
                "a:times=odd",
                "endpoint 1 (\"a\"): times is \"odd\"; give fixed or exponential",
            ),
            (
                "a;b;a",
                "endpoint 3 (\"a\") is the second that is called \"a\"; give each a name of its own",
            ),
            (
                "a*1000;b",
                "endpoint 2 (\"b\") is one too many; 1000 may be simulated",
            ),
            (
                "a*0",
                "endpoint 1 (\"a\"): the count after * is 0, which is out of bounds; give 1 to 1000 endpoints",
            ),
        ] {
            assert_eq!(
                text.parse::<Endpoints>().unwrap_err().to_string(),
                expected,
                "{text:?}"
            );
        }
    }
}
