//! The arguments. Names and exit statuses are a contract.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use compact_str::CompactString;
use octoconf::config::units::Rate;

use super::logger::LogFormat;

/// Takes messages from many queues and flushes them into one bucket per partner, so that no partner feels another.
#[derive(Debug, Parser)]
#[command(name = "octoconf", version, propagate_version = true)]
pub struct Arguments {
    /// The configuration file, .toml or .ini
    #[arg(long, global = true, env = CONFIG, default_value = "/etc/octoconf/octoconf.toml", value_name = "FILE")]
    pub config: PathBuf,
    /// How the log of `run` looks
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "FORMAT")]
    pub log_format: LogFormat,
    #[command(subcommand)]
    pub command: Command,
}

/// The configuration file where `--config` is not given.
const CONFIG: &str = "OCTOCONF_CONFIG";

impl Arguments {
    /// Those of this process. Ends it where they are wrong, or ask for help.
    pub fn of_process() -> Self {
        let mut command = Self::command();
        // What is set to nothing is not set: a wrapper may hand on what it does not have.
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
    /// Validate the configuration and print the resolved settings, secrets masked
    Check {
        /// One JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Run a queue's pipeline over JSONL bodies and print what it makes of them; nothing is sent
    Try {
        /// Its name in the configuration: [queues.NAME]
        queue: String,
        /// A file of one JSON body a line; `-`: standard input
        #[arg(default_value = "-")]
        file: PathBuf,
        /// One JSON array instead of text
        #[arg(long)]
        json: bool,
    },
    /// Put JSONL bodies on a queue
    ///
    /// INT or TERM ends it after what was read; it says how many are sent. The exit status is then 0 for standard input, and 1 for a file,
    /// of which something is left.
    Send {
        /// Its name in the configuration: [queues.NAME]
        queue: String,
        /// A file of one JSON body a line; `-`: standard input
        #[arg(default_value = "-")]
        file: PathBuf,
        /// One JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Show a running instance: its queues, and the partners that wait and why
    Status {
        /// Refresh in place until interrupted
        #[arg(long)]
        watch: bool,
        /// One JSON object instead of tables; with --watch one a line
        #[arg(long)]
        json: bool,
    },
    /// Say why a partner of a running instance waits
    Why {
        /// Its account
        #[arg(value_parser = account)]
        partner: String,
        /// One JSON object instead of sentences
        #[arg(long)]
        json: bool,
    },
    /// Set the delivery at the head of a waiting partner aside as a dead letter
    Skip {
        /// Its account
        #[arg(value_parser = account)]
        partner: String,
        /// One JSON object instead of sentences
        #[arg(long)]
        json: bool,
    },
    /// Look at dead letters, put them back on their queue, or delete them
    #[command(subcommand)]
    Dead(Dead),
    /// Look at what is parked for partners that are away, or delete it
    #[command(subcommand)]
    Parked(Parked),
    /// The main job on embedded queues, with generated traffic and simulated partners
    Demo(Demo),
    /// Print completions for a shell
    Completions {
        /// For which one
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub struct Run {
    /// Stop when every queue is empty and every message settled
    #[arg(long)]
    pub until_empty: bool,
    /// Stop after this time, for example 90s; what is left is returned (with --until-empty: exit status 1 if something is)
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub at_most: Option<Duration>,
    /// Write a report (JSON) at the end; `-`: to standard output
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Dead {
    /// List dead letters, oldest first
    List {
        /// Its name in the configuration: [queues.NAME]
        queue: String,
        #[command(flatten)]
        filter: Filter,
        /// At most so many
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// One JSON array instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Show one dead letter whole
    Show {
        /// Its name in the configuration: [queues.NAME]
        queue: String,
        /// The id that `list` shows
        id: String,
        /// One JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Put dead letters back on their queue
    Redrive {
        /// Its name in the configuration: [queues.NAME]
        queue: String,
        /// Ids that `list` shows; none: all that pass the filter
        ids: Vec<CompactString>,
        #[command(flatten)]
        filter: Filter,
        /// Only say how many there are
        #[arg(long)]
        dry_run: bool,
        /// At most so many a time, for example 50/s
        #[arg(long, value_name = "RATE", value_parser = rate)]
        rate: Option<Rate>,
        /// One JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Delete dead letters for good
    Purge {
        /// Its name in the configuration: [queues.NAME]
        queue: String,
        /// Ids that `list` shows; none: all that pass the filter
        ids: Vec<CompactString>,
        #[command(flatten)]
        filter: Filter,
        /// Only say how many there are
        #[arg(long)]
        dry_run: bool,
        /// One JSON object instead of text
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum Parked {
    /// List what is parked, by partner account
    List {
        /// Its name in the configuration: [queues.NAME]
        queue: String,
        /// Only what is for this partner account
        #[arg(long, value_name = "ACCOUNT")]
        partner: Option<String>,
        /// At most so many accounts
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// One JSON array instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Delete parked deliveries for good, oldest first; their messages are acked already
    Purge {
        /// Its name in the configuration: [queues.NAME]
        queue: String,
        /// Only what is for this partner account
        #[arg(long, value_name = "ACCOUNT")]
        partner: Option<String>,
        /// At most so many deliveries
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// Only say how many there are
        #[arg(long)]
        dry_run: bool,
        /// One JSON object instead of text
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub struct Filter {
    /// Only those for this partner account
    #[arg(long, value_name = "ACCOUNT")]
    pub partner: Option<String>,
    /// Only those of this kind (rejected, refused, …), or whose reason contains this text
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

#[derive(Debug, Args)]
pub struct Demo {
    /// Messages to generate: 1 to 10000000
    #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub messages: u64,
    /// Partner accounts to share them among: 10 to 100000
    #[arg(long, default_value_t = 2_900, value_name = "N", value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pub accounts: u32,
    /// The same seed gives the same traffic and the same faults
    #[arg(long, default_value_t = 2018, value_name = "N")]
    pub seed: u64,
    /// The reconciliation as one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// No partner has an empty account.
fn account(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("it is empty; give the account of a partner, as `octoconf status` shows it".to_owned());
    }
    Ok(text.to_owned())
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
