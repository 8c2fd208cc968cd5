//! Arguments: the words of the command line, with the help that a newcomer reads.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use super::help;
use crate::event::EventName;

/// A durable event bus: steps wired to events by config files; what it acknowledges is on disk.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, after_help = help::ROOT, max_term_width = 110)]
pub(super) struct Arguments {
    /// What to do; `serve` when left out.
    #[command(subcommand)]
    pub(super) verb: Option<Verb>,
    /// Config of `serve`, when no command is given.
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// The server, named before the command.
    #[command(flatten)]
    pub(super) server: ServerArgs,
    /// Print JSON on standard output, errors included: one document, for scripts.
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Print without colours.
    #[arg(long, global = true, env = "NO_COLOR", hide_env = true, action = ArgAction::SetTrue,
          value_parser = clap::builder::FalseyValueParser::new())]
    pub(super) no_color: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Run the bus until SIGTERM or Ctrl-C, then drain and end.
    Serve(ConfigArgs),
    /// Check the config files against the registered steps, and print every problem at once.
    Check(ConfigArgs),
    /// Draw which step hears and emits which event.
    #[command(after_help = help::GRAPH)]
    Graph(GraphArgs),
    /// Publish one event, or many.
    #[command(after_help = help::PUBLISH)]
    Publish(PublishArgs),
    /// Show where the flow of an event stands.
    #[command(after_help = help::STATUS)]
    Status(StatusArgs),
    /// Show everything that happened in a flow, as a tree.
    #[command(after_help = help::FLOW)]
    Flow(FlowArgs),
    /// List dead letters, retry them, skip them.
    #[command(after_help = help::DEAD, subcommand)]
    Dead(DeadVerb),
    /// List subscriptions; pause and resume them.
    #[command(after_help = help::SUBSCRIPTIONS)]
    Subscriptions(SubscriptionsArgs),
    /// Let the server read its config files again and take their wiring, without a restart.
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
    /// Print the completions of a shell.
    #[command(after_help = help::COMPLETIONS)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Where the config comes from.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ConfigArgs {
    /// The folder of default.toml, topology.toml and local.toml [default: ./config].
    #[arg(long, value_name = "DIR")]
    pub(super) config: Option<PathBuf>,
    /// Set one key above all files and TIDEGATE__… variables; may be given many times.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment)]
    pub(super) set: Vec<(String, String)>,
}

/// Which server to ask.
#[derive(Debug, Clone, Args)]
pub(super) struct ServerArgs {
    /// The server.
    #[arg(
        long,
        global = true,
        env = "TIDEGATE_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:7070"
    )]
    pub(super) url: String,
}

/// `graph`.
#[derive(Debug, Args)]
pub(super) struct GraphArgs {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// The notation [default: mermaid, with --json: json].
    #[arg(long, value_enum)]
    pub(super) format: Option<GraphFormat>,
}

/// A notation for graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum GraphFormat {
    /// For Markdown pages.
    Mermaid,
    /// For Graphviz.
    Dot,
    /// For programs.
    Json,
}

/// `publish`.
#[derive(Debug, Args)]
pub(super) struct PublishArgs {
    /// The event's name, for instance `order.placed`.
    #[arg(value_parser = EventName::new)]
    pub(super) name: EventName,
    /// The data as JSON, `@FILE`, or `-` for standard input; with --count a template.
    pub(super) data: Option<String>,
    /// The event's id; made up when left out. The same id is stored once.
    #[arg(long)]
    pub(super) id: Option<String>,
    /// The key that orders it: events of one key are handled one after the other.
    #[arg(long)]
    pub(super) key: Option<String>,
    /// Who publishes it; an id is unique with its source.
    #[arg(long, default_value = "/http")]
    pub(super) source: String,
    /// Wait up to so many seconds until the flow is at rest, and show it.
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["lines", "count"])]
    pub(super) wait: Option<u64>,
    /// One event per line of the file, or of standard input.
    #[arg(long, conflicts_with_all = ["id", "count"])]
    pub(super) lines: bool,
    /// So many events from DATA, with `{i}` replaced by 1, 2, … and `{i%M}` by its remainder.
    #[arg(long, value_name = "N", conflicts_with = "id", requires = "data")]
    pub(super) count: Option<u64>,
    /// With --lines or --count: take the id from this field of the data (or a JSON pointer `/a/b`).
    #[arg(long, value_name = "FIELD")]
    pub(super) id_field: Option<String>,
    /// With --lines or --count: take the key from this field of the data.
    #[arg(long, value_name = "FIELD", conflicts_with = "key")]
    pub(super) key_field: Option<String>,
    /// With --lines or --count: requests at a time.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) concurrency: u16,
    /// With --lines or --count: events in one request.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(super) batch: u16,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// `status`.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// The event's id.
    pub(super) id: String,
    /// The event's source.
    #[arg(long, default_value = "/http")]
    pub(super) source: String,
    /// Wait up to so many seconds until the flow is at rest.
    #[arg(long, value_name = "SECONDS")]
    pub(super) wait: Option<u64>,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// `flow`.
#[derive(Debug, Args)]
pub(super) struct FlowArgs {
    /// The flow's id, or with --event an event's id.
    pub(super) id: String,
    /// ID is an event's: show the flow it belongs to.
    #[arg(long)]
    pub(super) event: bool,
    /// The event's source, with --event.
    #[arg(long, default_value = "/http", requires = "event")]
    pub(super) source: String,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// `dead`.
#[derive(Debug, Subcommand)]
pub(super) enum DeadVerb {
    /// List dead letters.
    List {
        #[command(flatten)]
        filter: DeadFilter,
        /// The most to show.
        #[arg(long, default_value_t = 50)]
        limit: usize,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Try deliveries again.
    Retry {
        #[command(flatten)]
        which: Which,
        /// Why; it is kept with the act.
        #[arg(long, default_value = "retried from the command line")]
        reason: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Give deliveries up.
    Skip {
        #[command(flatten)]
        which: Which,
        /// Why; it is kept with the act.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Which dead letters an act is for.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Ids, as `dead list` shows them.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(super) ids: Vec<String>,
    /// All that the filters below leave, instead of ids.
    #[arg(long)]
    pub(super) all: bool,
    /// Only say which ones it would be.
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) filter: DeadFilter,
}

/// Which dead letters to list; all that is given must hold.
#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(super) struct DeadFilter {
    /// Of this subscription.
    #[arg(long)]
    pub(super) subscription: Option<String>,
    /// Of this flow.
    #[arg(long)]
    pub(super) flow: Option<String>,
    /// Of events with this name.
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Dead for this reason: attempts, fatal, undecodable, expired, crash.
    #[arg(long = "dead-reason", value_name = "REASON")]
    pub(super) dead_reason: Option<String>,
    /// Of this key.
    #[arg(long)]
    pub(super) key: Option<String>,
    /// Of the event with this id.
    #[arg(long)]
    pub(super) event: Option<String>,
}

/// `subscriptions`.
#[derive(Debug, Args)]
pub(super) struct SubscriptionsArgs {
    #[command(subcommand)]
    pub(super) verb: Option<SubscriptionsVerb>,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// What to do with subscriptions.
#[derive(Debug, Subcommand)]
pub(super) enum SubscriptionsVerb {
    /// Show all of them.
    List(ServerArgs),
    /// Start no new attempt until it is resumed.
    Pause {
        /// The subscription.
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Go on after a pause.
    Resume {
        /// The subscription.
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show the keys that wait for a person: parked by hand, or behind a dead letter.
    Keys {
        /// The subscription.
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show the state that a step keeps for a key.
    State {
        /// The subscription.
        name: String,
        /// The key.
        key: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// `reload`.
#[derive(Debug, Args)]
pub(super) struct ReloadArgs {
    /// Only say what would change.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Why; it is kept with the act.
    #[arg(long, default_value = "")]
    pub(super) reason: String,
    /// Who acts; it is kept with the act.
    #[arg(long, env = "TIDEGATE_OPERATOR", default_value = "", hide_env_values = true)]
    pub(super) by: String,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// `pause` and `resume`.
#[derive(Debug, Args)]
pub(super) struct SteerArgs {
    /// The subscription; the whole bus when left out.
    pub(super) subscription: Option<String>,
    /// Only this key of the subscription.
    #[arg(long, requires = "subscription")]
    pub(super) key: Option<String>,
    /// Why; it is kept with the act.
    #[arg(long, default_value = "")]
    pub(super) reason: String,
    /// Who acts; it is kept with the act.
    #[arg(long, env = "TIDEGATE_OPERATOR", default_value = "", hide_env_values = true)]
    pub(super) by: String,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// `drain`.
#[derive(Debug, Args)]
pub(super) struct DrainArgs {
    /// The subscription; the whole bus when left out.
    pub(super) subscription: Option<String>,
    /// Wait up to so many seconds; the exit code is 1 when something runs still.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(super) wait: u64,
    /// Why; it is kept with the act.
    #[arg(long, default_value = "")]
    pub(super) reason: String,
    /// Who acts; it is kept with the act.
    #[arg(long, env = "TIDEGATE_OPERATOR", default_value = "", hide_env_values = true)]
    pub(super) by: String,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, for instance http.bind=127.0.0.1:8080".to_owned()),
    }
}

impl ConfigArgs {
    /// These, with what they leave out taken from the ones before the command (`tidegate --config d check`).
    pub(super) fn or(self, above: Self) -> Self {
        Self { config: self.config.or(above.config), set: [above.set, self.set].concat() }
    }
}
