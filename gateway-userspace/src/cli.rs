//! The command line: what can be asked for, and which exit status each end has.

mod breaker;
mod check;
mod client;
mod deny;
mod events;
mod explain;
mod host;
mod routes;
mod show;
mod simulate;
mod table;
mod trace;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use gateway::config::snapshot::AdminListen;
use gateway::config::surroundings::Surroundings;
use gateway::config::{Refused, limits, validate};
use gateway::explain::Unanswerable;

use client::{Client, ClientError};
use table::Style;

/// Exit status of a refused configuration and of wrong usage (`EX_USAGE` in sysexits.h).
const EXIT_REFUSED: u8 = 64;
/// Exit status of everything else that fails.
const EXIT_FAILED: u8 = 1;

/// A highly available L4 and L7 gateway: the daemon, and the client that talks to it.
#[derive(Debug, Parser)]
#[command(name = "gateway", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the node in the foreground until SIGTERM or SIGINT.
    Run {
        /// The configuration file.
        #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
        config: PathBuf,
    },
    /// Say what a configuration would run, or everything that is wrong with it.
    Check {
        /// The configuration file.
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        config: PathBuf,
        /// Say instead what this machine lacks for it: kernel, drivers, offloads, MTU, settings of ARP and of the reverse
        /// path, other XDP programs. Needs the rights of the daemon.
        #[arg(long)]
        host: bool,
        /// Write JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the running node: its state, VIPs, listeners and endpoints.
    Status(Connection),
    /// Show the nodes of the cluster as the running node knows them.
    Nodes(Connection),
    /// Take no new connections and give this node's share to the others.
    Drain {
        #[command(flatten)]
        connection: Connection,
        /// Return only when the last connection has ended.
        #[arg(long)]
        wait: bool,
        /// How long to wait at most.
        #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration, requires = "wait")]
        timeout: Duration,
    },
    /// Undo a drain.
    Undrain(Connection),
    /// Have the running node take over its configuration file.
    Reload(Connection),
    /// Show the routes of the running node, set one, or delete one that was set so.
    Routes(routes::Routes),
    /// Show whose packets the running node drops, drop those of a network, or no longer.
    Deny(deny::Deny),
    /// Force a circuit breaker open or closed, or let it decide again.
    Breaker(breaker::Order),
    /// Show what changed at the endpoints and breakers of the running node, the oldest first.
    Events(events::Order),
    /// Show packets of the data plane as they pass: verdict, reason, and the way between nodes.
    Trace(trace::Order),
    /// Say what would become of a request or a packet, and why, step by step; nothing is sent.
    #[command(subcommand, arg_required_else_help = true)]
    Explain(explain::What),
    /// Say what would happen, without a node.
    #[command(subcommand, arg_required_else_help = true)]
    Simulate(simulate::Simulation),
    /// Print the JSON schema of the configuration.
    Schema,
    /// Print a completion script, as in `gateway completions bash > /etc/bash_completion.d/gateway`.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// How to reach the running node.
#[derive(Debug, Args)]
struct Connection {
    /// Where its admin API listens: ADDRESS:PORT, or unix:PATH.
    #[arg(long, value_name = "ADDRESS", default_value = limits::ADMIN_LISTEN, value_parser = admin_listen)]
    admin: AdminListen,
    /// File with the admin token [default: admin.token in /var/lib/gateway for root, else in
    /// ~/.local/state/gateway].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    token_file: Option<PathBuf>,
    /// Write JSON.
    #[arg(long)]
    json: bool,
}

impl Connection {
    fn client(&self) -> Client {
        let token_file = self
            .token_file
            .clone()
            .unwrap_or_else(|| Surroundings::here().token_file());
        Client::new(self.admin.clone(), token_file)
    }

    fn form(&self) -> Form {
        if self.json {
            Form::Json
        } else {
            Form::Text(Style::of_stdout())
        }
    }
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// For people.
    Text(Style),
    /// For programs.
    Json,
}

fn admin_listen(text: &str) -> Result<AdminListen, String> {
    validate::admin_listen(text).map_err(|(fault, remedy)| format!("it {fault}; {remedy}"))
}

/// Runs the command line, and says how it ended.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() {
                ExitCode::from(EXIT_REFUSED)
            } else {
                ExitCode::SUCCESS
            };
            return error.print().map_or(ExitCode::from(EXIT_FAILED), |()| code);
        }
    };
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            let (text, code) = told(&error);
            // Where even stderr is gone, nobody is left to be told.
            writeln!(io::stderr(), "{text}").map_or(ExitCode::from(EXIT_FAILED), |()| ExitCode::from(code))
        }
    }
}

/// What to print of an error, and the exit status that goes with it.
fn told(error: &anyhow::Error) -> (String, u8) {
    if let Some(refused) = error.downcast_ref::<Refused>() {
        return (refused.to_string(), EXIT_REFUSED);
    }
    if let Some(unanswerable) = error.downcast_ref::<Unanswerable>() {
        return (format!("gateway: {unanswerable}"), EXIT_REFUSED);
    }
    if let Some(ClientError::Refused(text)) = error.downcast_ref() {
        return (text.clone(), EXIT_REFUSED);
    }
    let mut lines = vec![format!("gateway: {error}")];
    lines.extend(error.chain().skip(1).map(|cause| format!("  because: {cause}")));
    (lines.join("\n"), EXIT_FAILED)
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run { config } => gateway::gateway::run(&config)?,
        Command::Check { config, host, json } => {
            let form = if json {
                Form::Json
            } else {
                Form::Text(Style::of_stdout())
            };
            return if host {
                host::host(&config, form)
            } else {
                check::check(&config, form)
            };
        }
        Command::Status(connection) => show::status(&connection.client(), connection.form())?,
        Command::Nodes(connection) => show::nodes(&connection.client(), connection.form())?,
        Command::Drain {
            connection,
            wait,
            timeout,
        } => {
            let limit = wait.then_some(timeout);
            show::drain(&connection.client(), connection.form(), limit)?;
        }
        Command::Undrain(connection) => show::undrain(&connection.client(), connection.form())?,
        Command::Reload(connection) => show::reload(&connection.client(), connection.form())?,
        Command::Routes(order) => routes::routes(&order)?,
        Command::Deny(order) => deny::deny(&order)?,
        Command::Breaker(order) => breaker::breaker(&order)?,
        Command::Events(order) => events::events(&order)?,
        Command::Trace(order) => trace::trace(&order)?,
        Command::Explain(what) => return explain::explain(&what),
        Command::Simulate(simulation) => simulate::simulate(&simulation)?,
        Command::Schema => print(&format!("{:#}\n", gateway::config::schema()))?,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "gateway", &mut script);
            print(&String::from_utf8_lossy(&script))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes to stdout; a reader that went away, as `head` does, is no failure.
fn print(text: &str) -> io::Result<()> {
    match io::stdout()
        .write_all(text.as_bytes())
        .and_then(|()| io::stdout().flush())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_sound_and_complete() {
        Cli::command().debug_assert();
        let names: Vec<String> = Cli::command()
            .get_subcommands()
            .map(|c| c.get_name().to_owned())
            .collect();
        assert_eq!(
            names,
            [
                "run",
                "check",
                "status",
                "nodes",
                "drain",
                "undrain",
                "reload",
                "routes",
                "deny",
                "breaker",
                "events",
                "trace",
                "explain",
                "simulate",
                "schema",
                "completions"
            ]
        );
    }

    #[test]
    fn admin_addresses_that_would_carry_the_token_over_a_network_are_wrong_usage() {
        let check = |admin: &str| Cli::try_parse_from(["gateway", "status", "--admin", admin]).map(drop);
        assert!(check("127.0.0.1:1").is_ok() && check("[::1]:1").is_ok() && check("unix:/run/x").is_ok());
        let refused = check("10.0.0.1:9900").unwrap_err().to_string();
        assert!(
            refused.contains("can be reached from other machines"),
            "{refused}"
        );
    }

    #[test]
    fn simulated_endpoints_that_make_no_sense_are_wrong_usage() {
        let check = |more: &[&str]| {
            let given = ["gateway", "simulate", "balance"].iter().chain(more);
            Cli::try_parse_from(given).map(drop)
        };
        assert!(check(&["--endpoints", "a:ms=5;b", "--trace", "t"]).is_ok());
        let refused = check(&["--endpoints", "a:ms=x"]).unwrap_err().to_string();
        assert!(refused.contains("endpoint 1 (\"a\"): ms is \"x\""), "{refused}");
        assert!(check(&["--endpoints", "a", "--trace", "t", "--rate", "5"]).is_err());
    }

    #[test]
    fn refused_configurations_exit_with_64_and_other_errors_with_1_and_their_causes() {
        let refused = Refused::unreadable("a.toml".into(), "is odd".to_owned(), "mend it");
        let refused = anyhow::Error::new(refused).context("starting");
        assert_eq!(
            told(&refused),
            (
                "a.toml: is odd; mend it\n1 problem; nothing was changed".to_owned(),
                64
            )
        );
        let error = anyhow::anyhow!("no such thing").context("cannot do it");
        assert_eq!(
            told(&error),
            ("gateway: cannot do it\n  because: no such thing".to_owned(), 1)
        );
    }
}
