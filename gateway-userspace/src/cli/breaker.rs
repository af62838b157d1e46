//! `gateway breaker`: forces a circuit breaker of the running node, or lets it decide again.

use std::net::SocketAddr;

use bytes::Bytes;
use clap::{ArgGroup, Args};
use gateway::admin::breakers::{Forcing, Switched};
use gateway::resilience::breaker::Force;
use http::Method;

use super::show::show;
use super::{Connection, Form};

/// Which breaker, and what it is to be.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("order").required(true))]
pub struct Order {
    /// The upstream's name.
    #[arg(value_name = "UPSTREAM", value_parser = upstream)]
    upstream: String,
    /// The breaker of that endpoint [default: the one of the whole upstream].
    #[arg(long, value_name = "ADDRESS:PORT")]
    endpoint: Option<SocketAddr>,
    /// Let no call through, until it is released.
    #[arg(long, group = "order")]
    open: bool,
    /// Let all calls through, whatever becomes of them, until it is released.
    #[arg(long, group = "order")]
    closed: bool,
    /// Let the breaker decide again.
    #[arg(long, group = "order")]
    release: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Names become a path: what cannot be one is said here and not by the node, which would not understand it.
fn upstream(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !text.is_empty() && text.chars().all(is_plain) {
        return Ok(text.to_owned());
    }
    Err("a name has letters, digits, '.', '_' and '-' alone".to_owned())
}

impl Order {
    fn force(&self) -> Option<Force> {
        // One of the three is given, which clap sees to; without the others, it is the release.
        let open = self.open.then_some(Force::Open);
        open.or(self.closed.then_some(Force::Closed))
    }

    fn path(&self) -> String {
        let upstream = &self.upstream;
        match self.endpoint {
            Some(address) => format!("/v1/upstreams/{upstream}/endpoints/{address}/breaker"),
            None => format!("/v1/upstreams/{upstream}/breaker"),
        }
    }
}

/// `gateway breaker`.
pub fn breaker(order: &Order) -> anyhow::Result<()> {
    let (client, form): (_, Form) = (order.connection.client(), order.connection.form());
    let (switched, value) = match order.force() {
        Some(force) => {
            let body = serde_json::to_vec(&Forcing { force })?;
            client.send::<Switched>(Method::PUT, &order.path(), Bytes::from(body))?
        }
        None => client.ask::<Switched>(Method::DELETE, &order.path())?,
    };
    show(form, &value, |_| {
        let of = match order.endpoint {
            Some(address) => format!("{address} of upstream {}", order.upstream),
            None => format!("upstream {}", order.upstream),
        };
        format!("the circuit breaker of {of} is {}\n", switched.breaker)
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        order: Order,
    }

    #[test]
    fn orders_name_one_breaker_and_one_state_or_are_wrong_usage() {
        type Row<'r> = (&'r [&'r str], Option<(Option<Force>, &'r str)>);
        let rows: &[Row<'_>] = &[
            (
                &["users", "--open"],
                Some((Some(Force::Open), "/v1/upstreams/users/breaker")),
            ),
            (
                &["users", "--closed"],
                Some((Some(Force::Closed), "/v1/upstreams/users/breaker")),
            ),
            (
                &["users", "--release", "--endpoint", "[::1]:80"],
                Some((None, "/v1/upstreams/users/endpoints/[::1]:80/breaker")),
            ),
            (&["users"], None),
            (&["--open"], None),
            (&["users", "--open", "--release"], None),
            (&["users", "--open", "--endpoint", "users:80"], None),
            (&["a/b", "--open"], None),
        ];
        for (given, expected) in rows {
            let read = Line::try_parse_from(["breaker"].iter().chain(*given)).ok();
            let seen = read.map(|line| (line.order.force(), line.order.path()));
            let expected = expected.map(|(force, path)| (force, path.to_owned()));
            assert_eq!(seen, expected, "{given:?}");
        }
    }
}
