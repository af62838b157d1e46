//! `gateway explain`: what would become of a request or a packet, and why.

mod text;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use clap::{Args, Subcommand, ValueEnum, ValueHint};
use gateway::config::snapshot::Transport;
use gateway::config::{self, Answers, Places};
use gateway::explain::Unanswerable;
use gateway::explain::packet::{self, Flags};
use gateway::explain::request::{self, Fate};
use gateway::l7;
use gateway::registry::Registry;
use gateway::tls::ClientCertificate;
use http::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::ClientError;
use super::show::show;
use super::{Connection, EXIT_FAILED};

/// What can be explained.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Explain a request: its listener, its route and why not the others, filters, upstream and endpoints.
    Request(RequestArgs),
    /// Explain a client's packet that comes in at the running node: what the kernel program decides, by its tables now.
    Packet(PacketArgs),
}

/// A request of HTTP/1.1 without a body.
#[derive(Debug, Args)]
pub struct RequestArgs {
    /// Its method, as in GET.
    #[arg(value_name = "METHOD")]
    method: String,
    /// Where it goes: http://HOST[:PORT]/PATH, https://HOST[:PORT]/PATH, a path alone, or *.
    #[arg(value_name = "URL")]
    url: String,
    /// A header field; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Who connects [default: 192.0.2.1].
    #[arg(long, value_name = "ADDRESS")]
    client: Option<IpAddr>,
    /// By which listener it comes [default: the one that the URL leads to].
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// The name that the client asked for in its TLS handshake [default: the URL's host].
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,
    /// The certificate that the client shows, as PEM; it is taken to be good [default: it shows none].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    client_certificate: Option<PathBuf>,
    /// Explain by this configuration file alone, without a node: names of endpoints are not resolved, and nothing is known of
    /// their state.
    #[arg(
        long,
        value_name = "FILE",
        value_hint = ValueHint::FilePath,
        conflicts_with_all = ["admin", "token_file"]
    )]
    config: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

/// A client's packet.
#[derive(Debug, Args)]
pub struct PacketArgs {
    /// The client.
    #[arg(long, value_name = "ADDRESS:PORT")]
    from: SocketAddr,
    /// The VIP.
    #[arg(long, value_name = "ADDRESS:PORT")]
    to: SocketAddr,
    /// The transport.
    #[arg(long, value_enum, default_value_t = PacketProtocol::Tcp)]
    protocol: PacketProtocol,
    /// Of TCP: a segment that opens a connection (syn), or one of a connection that is open (ack).
    #[arg(long, value_enum, default_value_t = PacketFlags::Syn)]
    flags: PacketFlags,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PacketProtocol {
    Tcp,
    Udp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PacketFlags {
    Syn,
    Ack,
}

/// `NAME: VALUE`; the value without the blanks around it.
fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.trim().to_owned())),
        _ => Err("write it as in 'x-tenant: blue'".to_owned()),
    }
}

/// Explains, and fails where nothing would be served.
///
/// # Errors
/// The question cannot be answered, the configuration is refused, or the node cannot be asked.
pub fn explain(what: &What) -> anyhow::Result<ExitCode> {
    let is_served = match what {
        What::Request(given) => explain_request(given)?,
        What::Packet(given) => {
            let (explained, value): (packet::Explained, Value) =
                ask(&given.connection, "/v1/explain/packet", &given.question())?;
            show(given.connection.form(), &value, |style| {
                text::packet(&explained, style)
            })?;
            explained.verdict.action != "drop"
        }
    };
    Ok(if is_served {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_FAILED)
    })
}

fn explain_request(given: &RequestArgs) -> anyhow::Result<bool> {
    let (explained, value) = match &given.config {
        Some(file) => by_file(file, &given.question()?)?,
        None => ask(&given.connection, "/v1/explain/request", &given.question()?)?,
    };
    show(given.connection.form(), &value, |style| {
        text::request(&explained, style)
    })?;
    Ok(explained.verdict.fate != Fate::Refused)
}

/// By the running node. A question that it cannot answer is wrong usage, as it is without a node.
fn ask<Q: Serialize, A: DeserializeOwned>(
    connection: &Connection,
    path: &str,
    question: &Q,
) -> anyhow::Result<(A, Value)> {
    let question = Bytes::from(serde_json::to_vec(question)?);
    match connection.client().send(Method::POST, path, question) {
        Err(ClientError::Answer { status, message }) if status == StatusCode::BAD_REQUEST => {
            Err(Unanswerable(message).into())
        }
        answer => Ok(answer?),
    }
}

/// By a file alone.
fn by_file(file: &Path, question: &request::Question) -> anyhow::Result<(request::Explained, Value)> {
    let settings = config::load(file)?;
    let registry = Registry::default();
    // A node that runs has an account at its authority, and answers by it.
    registry.acme_thumbprint().set(Some("account"));
    let snapshot = Arc::new(config::compile(&settings, &registry, &Answers::default(), 1));
    let places = Places::of(&settings)?;
    let of = l7::explain::Of {
        settings: &settings,
        snapshot: &snapshot,
        places: &places,
        source: l7::explain::Source::File,
    };
    let explained = l7::explain::request(of, question)?;
    let value = serde_json::to_value(&explained)?;
    Ok((explained, value))
}

impl RequestArgs {
    /// # Errors
    /// The file of the certificate has none.
    fn question(&self) -> Result<request::Question, Unanswerable> {
        let certificate = self.client_certificate.as_deref().map(ClientCertificate::load);
        let certificate = certificate.transpose();
        let certificate = certificate.map_err(|fault| Unanswerable(fault.to_string()))?;
        Ok(request::Question {
            certificate,
            method: self.method.clone(),
            url: self.url.clone(),
            headers: self.headers.clone(),
            client: self.client,
            listener: self.listener.clone(),
            sni: self.sni.clone(),
        })
    }
}

impl PacketArgs {
    fn question(&self) -> packet::Question {
        packet::Question {
            from: self.from,
            to: self.to,
            protocol: match self.protocol {
                PacketProtocol::Tcp => Transport::Tcp,
                PacketProtocol::Udp => Transport::Udp,
            },
            flags: match self.flags {
                PacketFlags::Syn => Flags::Syn,
                PacketFlags::Ack => Flags::Ack,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        what: What,
    }

    fn read(given: &[&str]) -> Option<What> {
        let line = Line::try_parse_from(["explain"].iter().chain(given));
        line.ok().map(|line| line.what)
    }

    #[test]
    fn questions_are_read_from_the_command_line_or_are_wrong_usage() {
        let url = "http://a.example/";
        let Some(What::Request(given)) = read(&[
            "request",
            "GET",
            url,
            "-H",
            "x-tenant: blue",
            "-H",
            "a:",
            "--client",
            "10.0.0.1",
            "--config",
            "t.toml",
        ]) else {
            panic!("not read")
        };
        let headers = [("x-tenant", "blue"), ("a", "")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let question = given.question().unwrap();
        assert_eq!(question.headers, headers);
        assert_eq!(question.client, Some("10.0.0.1".parse().unwrap()));
        let Some(What::Request(given)) =
            read(&["request", "GET", url, "--client-certificate", "/nowhere/a.pem"])
        else {
            panic!("not read")
        };
        let refused = given.question().unwrap_err().to_string();
        assert!(refused.contains("/nowhere/a.pem cannot be read"), "{refused}");
        let Some(What::Packet(given)) = read(&["packet", "--from", "10.0.0.1:1", "--to", "10.0.0.2:2"])
        else {
            panic!("not read")
        };
        assert_eq!(given.question().flags, Flags::Syn);
        for wrong in [
            &["request", "GET"][..],
            &["request", "GET", url, "-H", "no colon"],
            &[
                "request",
                "GET",
                url,
                "--config",
                "t.toml",
                "--admin",
                "127.0.0.1:1",
            ],
            &["packet", "--from", "10.0.0.1", "--to", "10.0.0.2:2"],
            &["packet", "--from", "10.0.0.1:1"],
        ] {
            assert!(read(wrong).is_none(), "{wrong:?}");
        }
    }

    const CONFIG: &str = "[node]
name = 'gw-1'
[[listener]]
name = 'web'
address = '127.0.0.1:8080'
[[upstream]]
name = 'users'
endpoints = [{ address = '10.0.1.1:80' }]
[[route]]
name = 'users'
listeners = ['web']
upstream = 'users'
match = { path = '/users/{id}', methods = ['GET'] }
";

    #[test]
    fn a_file_alone_is_explained_with_its_lines() {
        let directory = std::env::temp_dir().join(format!("gateway-explain-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let file = directory.join("t.toml");
        std::fs::write(&file, CONFIG).unwrap();
        let question = |method: &str, url: &str| request::Question {
            method: method.to_owned(),
            url: url.to_owned(),
            ..request::Question::default()
        };
        let ask = |method, url| by_file(&file, &question(method, url)).unwrap().0;
        let served = text::request(
            &ask("GET", "http://a.example:8080/users/7"),
            super::super::Style::Plain,
        );
        for wanted in [
            "route        \"users\": path \"/users/{id}\" of any host, GET",
            "line 9: route[0]",
            "id = 7",
            "10.0.1.1:80",
            "forwarded: to 10.0.1.1:80 of upstream \"users\"",
        ] {
            assert!(served.contains(wanted), "{wanted:?} is not in:\n{served}");
        }
        let refused = ask("PUT", "http://a.example:8080/users/7");
        assert_eq!(refused.verdict.status, Some(405));
        let refused = text::request(&refused, super::super::Style::Plain);
        for wanted in ["takes GET", "line 13: route[0].match.methods", "refused: "] {
            assert!(refused.contains(wanted), "{wanted:?} is not in:\n{refused}");
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
