//! Arguments: the words of the command line, with the help that a newcomer reads.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use super::help;

mod events;
mod repair;
mod steer;
mod store;

pub(super) use events::*;
pub(super) use repair::*;
pub(super) use steer::*;
pub(super) use store::*;

/// A durable event bus: steps wired to events by config files; what it acknowledges is on disk.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, after_help = help::ROOT, max_term_width = 110)]
pub(in crate::cli) struct Arguments {
    /// What to do; `serve` when left out.
    #[command(subcommand)]
    pub(in crate::cli) verb: Option<Verb>,
    /// Config of `serve`, when no command is given.
    #[command(flatten)]
    pub(in crate::cli) config: ConfigArgs,
    /// The server, named before the command.
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
    /// Print JSON on standard output, errors included: one document, for scripts.
    #[arg(long, global = true)]
    pub(in crate::cli) json: bool,
    /// Print without colours.
    #[arg(long, global = true, env = "NO_COLOR", hide_env = true, action = ArgAction::SetTrue,
          value_parser = clap::builder::FalseyValueParser::new())]
    pub(in crate::cli) no_color: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Verb {
    /// Run the bus until SIGTERM or Ctrl-C, then drain and end.
    Serve(ConfigArgs),
    /// Check the config files against the registered steps, and print every problem at once.
    Check(ConfigArgs),
    /// Run the tests of the wiring that the config files hold, each on an empty bus in memory.
    #[command(after_help = help::TEST)]
    Test(TestArgs),
    /// Draw which step hears and emits which event.
    #[command(after_help = help::GRAPH)]
    Graph(GraphArgs),
    /// Publish one event, or many.
    #[command(after_help = help::PUBLISH)]
    Publish(PublishArgs),
    /// Show where the flow of an event stands.
    #[command(after_help = help::STATUS)]
    Status(StatusArgs),
    /// Say why an event does not move, with the facts.
    #[command(after_help = help::EXPLAIN)]
    Explain(ExplainArgs),
    /// Show everything that happened in a flow, as a tree.
    #[command(after_help = help::FLOW)]
    Flow(FlowArgs),
    /// Take a delayed event back before it is due.
    #[command(after_help = help::CANCEL)]
    Cancel(CancelArgs),
    /// Move a delayed event to another time.
    #[command(after_help = help::CANCEL)]
    Reschedule(RescheduleArgs),
    /// List schedules: what the bus publishes itself, and when.
    Schedules(ServerArgs),
    /// Have a flow undone: what its steps recorded for that is run, the last one first.
    #[command(after_help = help::CANCEL_FLOW)]
    CancelFlow(CancelFlowArgs),
    /// Find flows by status, key, event name or time.
    #[command(after_help = help::FLOWS)]
    Flows(FlowsArgs),
    /// Find events by key, name, flow or time.
    #[command(after_help = help::EVENTS)]
    Events(EventsArgs),
    /// List dead letters, look at them, and put them right.
    #[command(after_help = help::DEAD, subcommand, visible_alias = "dead-letters")]
    Dead(DeadVerb),
    /// List subscriptions; pause and resume them.
    #[command(after_help = help::SUBSCRIPTIONS)]
    Subscriptions(SubscriptionsArgs),
    /// Let a subscription have earlier events again.
    #[command(after_help = help::REPLAY)]
    Replay(ReplayArgs),
    /// List replays, or stop one.
    #[command(after_help = help::REPLAY)]
    Replays(ReplaysArgs),
    /// List events that no subscription listens to, or that one's `where` has kept out.
    #[command(after_help = help::UNROUTED)]
    Unrouted(UnroutedArgs),
    /// Let the server read its config files again and take their wiring, without a restart.
    #[command(after_help = help::RELOAD)]
    Reload(ReloadArgs),
    /// Start nothing more: of the whole bus, a subscription, or a key of it. It holds over restarts.
    #[command(after_help = help::STEER)]
    Pause(SteerArgs),
    /// Go on after a pause.
    #[command(after_help = help::STEER)]
    Resume(SteerArgs),
    /// Pause, and wait until nothing runs.
    #[command(after_help = help::STEER)]
    Drain(DrainArgs),
    /// Show acts on many dead letters; stop and resume them.
    #[command(after_help = help::JOBS)]
    Jobs(JobsArgs),
    /// Show who did what, when and why, and what the system found.
    #[command(after_help = help::AUDIT)]
    Audit(AuditArgs),
    /// Write the whole store into one file, while the server works or is stopped.
    #[command(after_help = help::BACKUP)]
    Backup(BackupArgs),
    /// Make a data folder out of a backup, or only check one.
    #[command(after_help = help::BACKUP)]
    Restore(RestoreArgs),
    /// Look at what is on disk.
    #[command(after_help = help::STORE, subcommand)]
    Store(StoreVerb),
    /// Print the completions of a shell.
    #[command(after_help = help::COMPLETIONS)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Where the config comes from.
#[derive(Debug, Clone, Default, Args)]
pub(in crate::cli) struct ConfigArgs {
    /// The folder of default.toml, topology.toml and local.toml [default: ./config].
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) config: Option<PathBuf>,
    /// Set one key above all files and TIDEGATE__… variables; may be given many times.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment)]
    pub(in crate::cli) set: Vec<(String, String)>,
}

/// Which server to ask.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct ServerArgs {
    /// The server.
    #[arg(
        long,
        global = true,
        env = "TIDEGATE_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:7070"
    )]
    pub(in crate::cli) url: String,
    /// Who acts, as the audit will tell it [default: $USER].
    #[arg(long, global = true, env = "TIDEGATE_OPERATOR", hide_env_values = true, value_name = "NAME")]
    pub(in crate::cli) by: Option<String>,
}

/// `test`.
#[derive(Debug, Args)]
pub(in crate::cli) struct TestArgs {
    /// Only these; all when left out.
    pub(in crate::cli) names: Vec<String>,
    #[command(flatten)]
    pub(in crate::cli) config: ConfigArgs,
}

/// `graph`.
#[derive(Debug, Args)]
pub(in crate::cli) struct GraphArgs {
    #[command(flatten)]
    pub(in crate::cli) config: ConfigArgs,
    /// The notation [default: mermaid, with --json: json].
    #[arg(long, value_enum)]
    pub(in crate::cli) format: Option<GraphFormat>,
}

/// A notation for graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum GraphFormat {
    /// For Markdown pages.
    Mermaid,
    /// For Graphviz.
    Dot,
    /// For programs.
    Json,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, for instance http.bind=127.0.0.1:8080".to_owned()),
    }
}

impl ConfigArgs {
    /// These, with what they leave out taken from the ones before the command (`tidegate --config d check`).
    pub(in crate::cli) fn or(self, above: Self) -> Self {
        Self { config: self.config.or(above.config), set: [above.set, self.set].concat() }
    }
}
