//! The command-line arguments. Their names and the exit statuses are a contract.
//!
//! The doc comments on arguments and commands are the texts of `--help`.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use compact_str::CompactString;
use octoconf::settings::Rate;

use super::logger::LogFormat;

/// Takes messages from many queues and delivers them to partners through independent buckets, one per partner account
#[derive(Debug, Parser)]
#[command(name = "octoconf", version, propagate_version = true)]
pub struct Arguments {
    /// Configuration file, .toml or .ini
    #[arg(long, global = true, env = CONFIG, default_value = "/etc/octoconf/octoconf.toml", value_name = "FILE")]
    pub config: PathBuf,
    /// Format of the log lines of `run`
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "FORMAT")]
    pub log_format: LogFormat,
    #[command(subcommand)]
    pub command: Command,
}

/// The variable that names the configuration file if `--config` is not given.
const CONFIG: &str = "OCTOCONF_CONFIG";

/// Returns whether the arguments name the command `run`, as far as that can be told without parsing them.
pub fn name_run(mut arguments: impl Iterator<Item = OsString>) -> bool {
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            // The value is the next argument.
            Some("--config" | "--log-format") => _ = arguments.next(),
            Some(option) if option.starts_with('-') => {}
            command => return command == Some("run"),
        }
    }
    false
}

impl Arguments {
    /// Parses the arguments of this process. Ends the process if they are wrong or ask for help.
    pub fn of_process() -> Self {
        let mut command = Self::command();
        // An empty variable counts as not set, since a wrapper script may pass on a variable that it does not have.
        if env::var_os(CONFIG).is_some_and(|path| path.is_empty()) {
            command = command.mut_arg("config", |config| config.env(Resettable::Reset));
        }
        Self::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service
    Run(Run),
    /// Validate the configuration and print the resolved settings, with secrets masked
    Check {
        /// Print one JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Run a queue's handler over JSONL bodies and print the outcomes; nothing is sent
    Try {
        /// Name of the queue in the configuration, as in [queues.NAME]
        queue: String,
        /// File with one JSON body per line, or `-` for standard input
        #[arg(default_value = "-")]
        file: PathBuf,
        /// Print one JSON array instead of text
        #[arg(long)]
        json: bool,
    },
    /// Put JSONL bodies on a queue
    ///
    /// On INT or TERM, the lines read so far are sent and the command ends with the number of messages sent. The exit
    /// status is then 0 for standard input, and 1 for a file, of which lines are left.
    Send {
        /// Name of the queue in the configuration, as in [queues.NAME]
        queue: String,
        /// File with one JSON body per line, or `-` for standard input
        #[arg(default_value = "-")]
        file: PathBuf,
        /// Print one JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Show a running instance: its queues, and the waiting partners with the reasons
    Status {
        /// Refresh the output every second until interrupted
        #[arg(long)]
        watch: bool,
        /// Print one JSON object instead of tables; with --watch, one per line
        #[arg(long)]
        json: bool,
    },
    /// Explain why a partner of a running instance is waiting
    Why {
        /// Account of the partner, as `status` shows it; a JSON string stands for its text
        #[arg(value_parser = account)]
        partner: String,
        /// Print one JSON object instead of sentences
        #[arg(long)]
        json: bool,
    },
    /// Set the first delivery of a waiting partner aside as a dead letter
    Skip {
        /// Account of the partner, as `status` shows it; a JSON string stands for its text
        #[arg(value_parser = account)]
        partner: String,
        /// Print one JSON object instead of sentences
        #[arg(long)]
        json: bool,
    },
    /// List, show, redrive or delete dead letters
    #[command(subcommand)]
    Dead(Dead),
    /// List or delete deliveries that are parked for unavailable partners
    #[command(subcommand)]
    Parked(Parked),
    /// Run a demonstration with embedded queues, generated traffic and simulated partners
    Demo(Demo),
    /// Print a completion script for a shell
    Completions {
        /// Shell for which the script is printed
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub struct Run {
    /// Stop once every queue is empty and every message is settled
    #[arg(long)]
    pub until_empty: bool,
    /// Stop after this time, e.g. 90s, and return the held messages (with --until-empty: exit
    /// status 1 if messages are left)
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub at_most: Option<Duration>,
    /// Write a report in JSON to this file at the end, or to standard output if `-`
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Dead {
    /// List dead letters, oldest first
    List {
        /// Name of the queue in the configuration, as in [queues.NAME]
        queue: String,
        #[command(flatten)]
        filter: Filter,
        /// Maximum number of dead letters
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// Print one JSON array instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Show one dead letter in full
    Show {
        /// Name of the queue in the configuration, as in [queues.NAME]
        queue: String,
        /// Id of the dead letter, as `list` shows it
        id: String,
        /// Print one JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Put dead letters back on their queue
    Redrive {
        /// Name of the queue in the configuration, as in [queues.NAME]
        queue: String,
        /// Ids of dead letters, as `list` shows them; without ids, all that match the filter
        ids: Vec<CompactString>,
        #[command(flatten)]
        filter: Filter,
        /// Only print how many dead letters would be redriven
        #[arg(long)]
        dry_run: bool,
        /// Maximum rate, e.g. 50/s
        #[arg(long, value_name = "RATE", value_parser = rate)]
        rate: Option<Rate>,
        /// Print one JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Delete dead letters permanently
    Purge {
        /// Name of the queue in the configuration, as in [queues.NAME]
        queue: String,
        /// Ids of dead letters, as `list` shows them; without ids, all that match the filter
        ids: Vec<CompactString>,
        #[command(flatten)]
        filter: Filter,
        /// Only print how many dead letters would be deleted
        #[arg(long)]
        dry_run: bool,
        /// Print one JSON object instead of text
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum Parked {
    /// List parked deliveries by partner account
    List {
        /// Name of the queue in the configuration, as in [queues.NAME]
        queue: String,
        /// Only deliveries for this partner account
        #[arg(long, value_name = "ACCOUNT", value_parser = meant)]
        partner: Option<String>,
        /// Maximum number of accounts
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// Print one JSON array instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Delete parked deliveries permanently, oldest first; their messages are already deleted from the queue
    Purge {
        /// Name of the queue in the configuration, as in [queues.NAME]
        queue: String,
        /// Only deliveries for this partner account
        #[arg(long, value_name = "ACCOUNT", value_parser = meant)]
        partner: Option<String>,
        /// Maximum number of deliveries
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// Only print how many deliveries would be deleted
        #[arg(long)]
        dry_run: bool,
        /// Print one JSON object instead of text
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub struct Filter {
    /// Only dead letters for this partner account
    #[arg(long, value_name = "ACCOUNT", value_parser = meant)]
    pub partner: Option<String>,
    /// Only dead letters of this kind (rejected, refused, …), or whose reason contains this text
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

#[derive(Debug, Args)]
pub struct Demo {
    /// Number of messages to generate, 1 to 10000000
    #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub messages: u64,
    /// Number of partner accounts that receive them, 10 to 100000
    #[arg(long, default_value_t = 2_900, value_name = "N", value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pub accounts: u32,
    /// Seed of the generated traffic; the same seed generates the same traffic and the same faults
    #[arg(long, default_value_t = 2018, value_name = "N")]
    pub seed: u64,
    /// Print the reconciliation as one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// Parses an account, which is never empty.
fn account(text: &str) -> Result<String, String> {
    if meant(text)?.is_empty() {
        return Err("it is empty; give the account of a partner, as `octoconf status` shows it".to_owned());
    }
    meant(text)
}

/// Parses an account that may be given as views show it.
fn meant(text: &str) -> Result<String, String> {
    Ok(octoconf::commands::meant(text))
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it like 250ms, 30s or 10m"))
}

fn rate(text: &str) -> Result<Rate, String> {
    text.parse().map_err(|why: &str| format!("{why}; write it like 50/s or 300/m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_is_known_before_the_arguments_are_parsed() {
        let names_run = |arguments: &[&str]| name_run(arguments.iter().map(OsString::from));
        assert!(names_run(&["run"]) && names_run(&["--config", "a.toml", "run", "--for", "1s"]));
        assert!(names_run(&["--config=a.toml", "--log-format", "json", "run"]));
        assert!(!names_run(&["send", "run"]) && !names_run(&["--config", "run", "check"]) && !names_run(&[]));
    }

    #[test]
    fn every_argument_has_its_text() {
        let mut commands = vec![Arguments::command()];
        while let Some(command) = commands.pop() {
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
            commands.extend(command.get_subcommands().cloned());
        }
    }
}
