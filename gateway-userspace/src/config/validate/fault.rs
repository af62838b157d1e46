//! `route.fault`: what is done to requests on purpose.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};

use crate::config::given::{self, Time};
use crate::config::limits;
use crate::config::path::KeyPath;
use crate::config::problem::Problems;
use crate::config::snapshot::{Faults, Odds, Respond};

/// Reads it; `None` where there is none, or a problem.
pub fn fault(route: &given::Route, path: &KeyPath, problems: &mut Problems<'_>) -> Option<Faults> {
    let given = route.fault.as_ref()?;
    let path = path.key("fault");
    if route.redirect.is_some() || route.respond.is_some() {
        problems.add(&path, "the route asks no upstream", "remove it");
        return None;
    }
    if given.delay.is_none() && given.abort.is_none() && !problems.is_known_below(&path) {
        problems.add(&path, "it does nothing", "add delay = { … } or abort = { … }");
    }
    let only_with = given.only_with_header.as_ref().and_then(|name| {
        let header = HeaderName::from_lowercase(name.as_bytes()).ok();
        if header.is_none() {
            let fault = format!("\"{name}\" is no name of a header field in lower case");
            problems.add(&path.key("only_with_header"), fault, "write it as in \"x-fault\"");
        }
        header
    });
    let delay = given.delay.as_ref();
    let abort = given.abort.as_ref();
    Some(Faults {
        delay: delay.and_then(|delay| {
            let Time(time) = delay.time?;
            Some((time, Odds::per_cent(delay.percent?)))
        }),
        abort: abort.and_then(|abort| {
            let status = StatusCode::from_u16(abort.status?).ok()?;
            Some((Arc::new(answer(status)), Odds::per_cent(abort.percent?)))
        }),
        only_with,
    })
}

/// What such a request gets: the text of every failure of the gateway's own, with the status of the route.
fn answer(status: StatusCode) -> Respond {
    Respond {
        status,
        body: Respond::pieces("{reason}: the route fails this request on purpose\n"),
        content_type: HeaderValue::from_static(limits::RESPOND_CONTENT_TYPE),
        retry_after: None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use super::*;
    use crate::config::load::load_text;
    use crate::config::problem::Refused;
    use crate::config::settings::Settings;
    use crate::config::surroundings::Surroundings;

    fn load(route: &str) -> Result<Settings, Refused> {
        let text = format!(
            "[node]\nname='a'\n[[listener]]\nname='web'\naddress='127.0.0.1:80'\n\
             [[route]]\nname='r'\nlisteners=['web']\nmatch={{path='/'}}\n{route}\n\
             [[upstream]]\nname='u'\nendpoints=[{{address='10.0.1.1:80'}}]\n"
        );
        let surroundings = Surroundings {
            cores: 1,
            state_directory: PathBuf::from("/state"),
            invalid: crate::config::surroundings::Invalid::Refused,
        };
        load_text(Path::new("t.toml"), &text, &surroundings)
    }

    #[test]
    fn all_of_it_reaches_the_settings() {
        let settings = load(
            "upstream='u'\nfault={delay={time='2s',percent=10},abort={status=503,percent=0.5},only_with_header='x-fault'}",
        )
        .unwrap();
        let faults = settings.routes[0].fault.clone().unwrap();
        assert_eq!(faults.delay, Some((Duration::from_secs(2), Odds::per_cent(10.0))));
        let (respond, odds) = faults.abort.unwrap();
        assert_eq!((respond.status.as_u16(), odds), (503, Odds::per_cent(0.5)));
        assert_eq!(faults.only_with.unwrap(), "x-fault");
    }

    #[test]
    fn faults_of_faults_are_named() {
        let rows = [
            ("upstream='u'\nfault={}", "route[0].fault: it does nothing"),
            (
                "respond={status=200}\nfault={abort={status=503,percent=1}}",
                "route[0].fault: the route asks no upstream",
            ),
            (
                "upstream='u'\nfault={delay={percent=1}}",
                "fault.delay.time: is missing",
            ),
            (
                "upstream='u'\nfault={delay={time='1s'}}",
                "fault.delay.percent: is missing",
            ),
            (
                "upstream='u'\nfault={delay={time='1s',percent=101}}",
                "fault.delay.percent: 101",
            ),
            (
                "upstream='u'\nfault={delay={time='2h',percent=1}}",
                "fault.delay.time: \"2h\" is out of range",
            ),
            (
                "upstream='u'\nfault={abort={status=200,percent=1}}",
                "fault.abort.status: 200 is out of range",
            ),
            (
                "upstream='u'\nfault={abort={status=503,percent=1},only_with_header='X'}",
                "fault.only_with_header: \"X\" is no name of a header field in lower case",
            ),
        ];
        for (route, fault) in rows {
            match load(route) {
                Ok(_) => panic!("accepted: {route}"),
                Err(refused) => {
                    assert!(refused.to_string().contains(fault), "{route}: {refused}");
                    assert_eq!(refused.problems().len(), 1, "{route}: {refused}");
                }
            }
        }
    }
}
