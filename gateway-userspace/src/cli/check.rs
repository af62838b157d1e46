//! `gateway check`: what a configuration would run.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use gateway::acme;
use gateway::config::settings::{ActionSettings, ListenerSettings, Place, RouteSettings, UpstreamSettings};
use gateway::config::snapshot::{AdminListen, Carries, Health, Respond, Way};
use gateway::config::{Problem, Settings};
use gateway::resilience::limits::{Limit, Limits, Maxima, UNLIMITED};
use gateway::router::{HostPattern, PathPattern};
use serde_json::json;

use super::table::{Cell, Style, Table, Tone, word};
use super::{EXIT_REFUSED, Form, print};

/// Where authorities ask.
const HTTP_PORT: u16 = 80;

/// Checks a file, and prints what it would run or all that is wrong with it.
///
/// # Errors
/// [`Refused`](gateway::config::Refused), for people; programs read the problems from stdout.
pub fn check(config: &Path, form: Form) -> anyhow::Result<ExitCode> {
    match (gateway::config::load(config), form) {
        (Ok(settings), Form::Text(style)) => print(&summary(&settings, style))?,
        (Ok(_), Form::Json) => print(&format!("{:#}\n", json!({ "ok": true, "problems": [] })))?,
        (Err(refused), Form::Text(_)) => return Err(refused.into()),
        (Err(refused), Form::Json) => {
            let problems: Vec<_> = refused.problems().iter().map(problem).collect();
            print(&format!("{:#}\n", json!({ "ok": false, "problems": problems })))?;
            return Ok(ExitCode::from(EXIT_REFUSED));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Those that are had by ACME.
fn certificates(acme: &acme::Settings) -> Table {
    let mut table = Table::bare();
    for wanted in &acme.wanted {
        table.row([
            format!("  {}", wanted.names.join(", ")).into(),
            wanted.cert_file.display().into(),
            format!("by {}", acme.directory).into(),
        ]);
    }
    table
}

/// Whether an authority that asks at its port comes to that listener.
fn is_asked(listener: &ListenerSettings) -> bool {
    listener.carries == Carries::Requests && listener.tls.is_none() && listener.address.port() == HTTP_PORT
}

fn problem(problem: &Problem) -> serde_json::Value {
    json!({
        "file": problem.file,
        "line": problem.line,
        "path": problem.path.to_string(),
        "fault": problem.fault,
        "remedy": problem.remedy,
    })
}

/// What would run.
fn summary(settings: &Settings, style: Style) -> String {
    let mut text = head(settings, style);
    let mut section = |name: &str, table: Table, count: usize| {
        if count > 0 {
            text.push_str(&format!(
                "\n{}\n{}",
                style.paint(name, Tone::Head),
                table.text(style)
            ));
        }
    };

    let mut vips = Table::bare();
    for vip in &settings.vips {
        let ports: Vec<String> = vip.ports.iter().map(u16::to_string).collect();
        let what = format!("{:?} {}", vip.protocol, ports.join(", ")).to_lowercase();
        vips.row([
            format!("  {}", vip.name).into(),
            vip.address.into(),
            what.into(),
            word(&vip.steering).into(),
        ]);
    }
    section("VIPs", vips, settings.vips.len());

    let mut listeners = Table::bare();
    for listener in &settings.listeners {
        let carried = match listener.carries {
            Carries::Requests => "",
            Carries::Bytes => " of connections",
            Carries::Tls => " of TLS that is passed on",
        };
        let routes = match listener.routes.len() {
            0 => Cell("no route: answers 404".to_owned(), Tone::Doubtful),
            1 => format!("1 route{carried}").into(),
            count => format!("{count} routes{carried}").into(),
        };
        listeners.row([
            format!("  {}", listener.name).into(),
            listener.address.into(),
            routes,
        ]);
    }
    section("listeners", listeners, settings.listeners.len());

    if let Some(acme) = &settings.acme {
        let heading = if settings.listeners.iter().any(is_asked) {
            "certificates by ACME"
        } else {
            "certificates by ACME: no plain listener has port 80, so what is asked there must be led to one"
        };
        section(heading, certificates(acme), acme.wanted.len());
    }

    let mut routes = Table::bare();
    for route in &settings.routes {
        let action = match &route.action {
            ActionSettings::Upstream(upstream) => {
                let subsets = &upstream.subsets.all;
                let subset = route.subset.and_then(|subset| subsets.get(subset));
                let subset = subset.map(|subset| format!(" ({})", subset.name));
                format!(
                    "→ {}{}{}",
                    upstream.name,
                    subset.unwrap_or_default(),
                    fallbacks(route)
                )
            }
            ActionSettings::Split(split) => {
                let share = |(upstream, weight): (&Arc<UpstreamSettings>, &u32)| {
                    format!("{} ({weight})", upstream.name)
                };
                let shares = split.upstreams.iter().zip(&split.weights).map(share);
                format!("→ {}{}", shares.collect::<Vec<_>>().join(", "), fallbacks(route))
            }
            ActionSettings::Redirect(redirect) => format!("redirects {redirect}"),
            ActionSettings::Respond(Respond { status, .. }) => format!("answers {}", status.as_u16()),
        };
        routes.row([
            format!("  {}", route.name).into(),
            matched(route, carried(settings, route)).into(),
            format!("{action}{}", beside(route)).into(),
        ]);
    }
    section("routes", routes, settings.routes.len());

    let mut upstreams = Table::bare();
    for upstream in &settings.upstreams {
        let (endpoints, idle) = (upstream.endpoints.len(), upstream.idle_per_endpoint);
        let checks = checks(&upstream.health);
        let count = if endpoints == 1 {
            "1 endpoint".to_owned()
        } else {
            format!("{endpoints} endpoints")
        };
        let connections = format!("{} idle connections at most", endpoints.saturating_mul(idle));
        upstreams.row([
            format!("  {}", upstream.name).into(),
            count.into(),
            upstream.balancer.name().into(),
            checks.into(),
            guards(upstream).into(),
            limits(&upstream.limits).into(),
            choices(upstream).into(),
            connections.into(),
        ]);
    }
    section("upstreams", upstreams, settings.upstreams.len());

    let idle: usize = settings
        .upstreams
        .iter()
        .map(|u| u.endpoints.len().saturating_mul(u.idle_per_endpoint))
        .sum();
    let bounds: Option<u64> = settings.upstreams.iter().map(|upstream| bound(upstream)).sum();
    let worst = match bounds {
        Some(bound) if !settings.upstreams.is_empty() => format!("{bound}, of which {idle} idle"),
        _ => format!("{idle} idle, and one for each request under way where limits.connections is not set"),
    };
    text.push_str(&format!("\nworst case of upstream connections: {worst}\n"));
    text.push_str(&style.paint("the configuration is good\n", Tone::Good));
    text
}

/// What is done where a route's upstream fails.
fn fallbacks(route: &RouteSettings) -> String {
    let upstreams = route.fallbacks.iter().map(|upstream| upstream.name.clone());
    let respond = route.fallback_respond.iter();
    let respond = respond.map(|respond| format!("answers {}", respond.status.as_u16()));
    upstreams
        .chain(respond)
        .map(|rung| format!(", else {rung}"))
        .collect()
}

/// What else becomes of its requests.
fn beside(route: &RouteSettings) -> String {
    let mirror = route.mirror.iter();
    let mirror = mirror.map(|mirror| format!(", copied to {}", mirror.upstream.name));
    let fault = route.fault.iter().map(|_| ", fails on purpose".to_owned());
    mirror.chain(fault).collect()
}

/// What takes endpoints out beside checks, and what is done before that.
fn guards(upstream: &UpstreamSettings) -> String {
    let own = upstream.endpoints.iter().any(|one| !one.channels.is_empty());
    let guards = [
        (upstream.guards.breaker.is_some(), "breaker"),
        (upstream.guards.outliers.is_some(), "outlier"),
        (own || !upstream.channels.is_empty(), "channels"),
    ];
    let guards: Vec<_> = guards
        .into_iter()
        .filter_map(|(is_on, name)| is_on.then_some(name))
        .collect();
    if guards.is_empty() {
        "no guards".to_owned()
    } else {
        guards.join(", ")
    }
}

/// Connections to an upstream at most, if they are limited.
fn bound(upstream: &UpstreamSettings) -> Option<u64> {
    let limited = |max: u32| (max != UNLIMITED).then(|| u64::from(max));
    let whole = limited(upstream.limits.whole.connections);
    // A name may stand for any number of endpoints, and others may register.
    let is_fixed = upstream.registered_max == 0
        && upstream
            .endpoints
            .iter()
            .all(|endpoint| matches!(endpoint.place, Place::Address(_)));
    let count = u64::try_from(upstream.endpoints.len()).unwrap_or(u64::MAX);
    let each = limited(upstream.limits.endpoint.connections).filter(|_| is_fixed);
    let each = each.map(|max| max.saturating_mul(count));
    [whole, each].into_iter().flatten().min()
}

/// How much may be under way at it, and at each of its endpoints.
fn limits(limits: &Limits) -> String {
    let of = |maxima: &Maxima, whose: &str| {
        let given = Limit::ALL
            .into_iter()
            .map(|limit| (limit, maxima.of(limit)))
            .filter(|(_, max)| *max != UNLIMITED)
            .filter(|(limit, _)| *limit != Limit::Pending || limits.bounds_connections());
        let given: Vec<String> = given
            .map(|(limit, max)| format!("{max} {}", limit.name()))
            .collect();
        (!given.is_empty()).then(|| format!("{}{whose}", given.join(", ")))
    };
    let both = [of(&limits.whole, ""), of(&limits.endpoint, " each")];
    let both: Vec<String> = both.into_iter().flatten().collect();
    if both.is_empty() {
        "no limits".to_owned()
    } else {
        format!("at most {}", both.join("; "))
    }
}

/// What else chooses an endpoint, beside the balancer.
fn choices(upstream: &UpstreamSettings) -> String {
    let sticky = upstream.sticky.iter();
    let sticky = sticky.map(|sticky| format!("sticky by {}", sticky.cookie));
    let subsets = match upstream.subsets.all.len() {
        0 => None,
        1 => Some("1 subset".to_owned()),
        count => Some(format!("{count} subsets")),
    };
    sticky.chain(subsets).collect::<Vec<_>>().join(", ")
}

/// How the endpoints of an upstream are watched, in one line.
fn checks(health: &Health) -> String {
    let pushed = health.pushed().map(|_| "heartbeat pushed".to_owned());
    let asked = health.asked().map(|(kind, check)| {
        let way = match &check.way {
            Way::Http(http) => http.path.clone(),
            Way::Tcp => "TCP".to_owned(),
            Way::Grpc { service, .. } if service.is_empty() => "gRPC".to_owned(),
            Way::Grpc { service, .. } => format!("gRPC {service}"),
            Way::Command { program, .. } => program.display().to_string(),
        };
        format!("{} {way}", kind.word())
    });
    let all: Vec<String> = pushed.into_iter().chain(asked).collect();
    if all.is_empty() {
        "not checked".to_owned()
    } else {
        format!("checked: {}", all.join(", "))
    }
}

fn head(settings: &Settings, style: Style) -> String {
    let mut table = Table::bare();
    let node = &settings.node;
    table.row([
        "node".into(),
        format!("{}, weight {}, {} workers", node.name, node.weight, node.workers).into(),
    ]);
    let admin = match &settings.admin.listen {
        AdminListen::Tcp(address) => address.to_string(),
        AdminListen::Unix(file) => format!("unix:{}", file.display()),
    };
    table.row([
        "admin".into(),
        format!("{admin}, token in {}", settings.admin.token_file.display()).into(),
    ]);
    let dataplane = match &settings.dataplane {
        None => "none: L7 only".to_owned(),
        Some(dataplane) => {
            let names = dataplane.interfaces.join(", ");
            format!(
                "XDP on {names} (mode {}), {}",
                word(&dataplane.mode),
                word(&dataplane.encapsulation)
            )
        }
    };
    table.row(["dataplane".into(), dataplane.into()]);
    let cluster = match &settings.cluster {
        None => "none: a single node".to_owned(),
        Some(cluster) => format!("{}, {} other seeds", cluster.listen, cluster.seeds.len()),
    };
    table.row(["cluster".into(), cluster.into()]);
    table.text(style)
}

/// What a route takes, in one line.
/// What the listeners carry that a route serves: they agree.
fn carried(settings: &Settings, route: &Arc<RouteSettings>) -> Carries {
    let serves = |listener: &&ListenerSettings| listener.routes.iter().any(|own| Arc::ptr_eq(own, route));
    let served = settings.listeners.iter().find(serves);
    served.map_or(Carries::Requests, |listener| listener.carries)
}

fn matched(route: &RouteSettings, carries: Carries) -> String {
    let hosts: Vec<String> = route
        .hosts
        .iter()
        .map(|host| match host {
            HostPattern::Any => "*".to_owned(),
            HostPattern::Exact(name) => name.clone(),
            HostPattern::Wildcard(suffix) => format!("*.{suffix}"),
        })
        .collect();
    let path = match &route.path {
        _ if carries != Carries::Requests => String::new(),
        PathPattern::Exact(path) => path.clone(),
        PathPattern::Prefix(prefix) => format!("{}/…", prefix.trim_end_matches('/')),
        PathPattern::Regex(expression) => format!(" ~ {}", expression.text()),
    };
    let hosts = if route.hosts == [HostPattern::Any] && carries != Carries::Requests {
        "every connection".to_owned()
    } else if route.hosts == [HostPattern::Any] {
        String::new()
    } else {
        hosts.join(",")
    };
    let methods: Vec<&str> = route.methods.iter().map(http::Method::as_str).collect();
    let methods = if methods.is_empty() {
        String::new()
    } else {
        format!("{} ", methods.join(","))
    };
    let conditions = if route.conditions.is_empty() {
        String::new()
    } else {
        format!(" ({})", route.conditions)
    };
    format!("{methods}{hosts}{path}{conditions}")
}
