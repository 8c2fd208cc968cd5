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
    Explain(ExplainArgs),
    /// Show everything that happened in a flow, as a tree.
    #[command(after_help = help::FLOW)]
    Flow(FlowArgs),
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
    /// Who acts, as the audit will tell it [default: $USER].
    #[arg(long, global = true, env = "TIDEGATE_OPERATOR", hide_env_values = true, value_name = "NAME")]
    pub(super) by: Option<String>,
}

/// `test`.
#[derive(Debug, Args)]
pub(super) struct TestArgs {
    /// Only these; all when left out.
    pub(super) names: Vec<String>,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
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

/// `explain`.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The event's id.
    pub(super) id: String,
    /// The event's source.
    #[arg(long, default_value = "/http")]
    pub(super) source: String,
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
    /// Show with each delivery the state that its step keeps for its key, as it is now.
    #[arg(long)]
    pub(super) state: bool,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// `flows`.
#[derive(Debug, Args)]
pub(super) struct FlowsArgs {
    /// Where it stands: accepted, processing, done, failed; open, rest, or dead (with dead letters).
    #[arg(long)]
    pub(super) status: Option<String>,
    #[command(flatten)]
    pub(super) find: FindArgs,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// `events`.
#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    /// Of this flow.
    #[arg(long)]
    pub(super) flow: Option<String>,
    #[command(flatten)]
    pub(super) find: FindArgs,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// What flows and events are found by; all that is given must hold.
#[derive(Debug, Args)]
pub(super) struct FindArgs {
    /// With this key.
    #[arg(long)]
    pub(super) key: Option<String>,
    /// With this event name.
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Acknowledged at this time or later: RFC 3339, or as long ago as `90s`, `15m`, `2h`, `3d`.
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<String>,
    /// Acknowledged before this time, written as for --since.
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<String>,
    /// The most to show.
    #[arg(long, default_value_t = 50)]
    pub(super) limit: usize,
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
        /// Not before this time, RFC 3339.
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        /// Not before so much time has passed, for instance 90s, 5m, 2h.
        #[arg(long, value_name = "DURATION", conflicts_with = "at")]
        after: Option<String>,
        /// Also when the `on_dead` event was stored: the flow may be answered twice.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show one with its data, its history and what waits behind it.
    Show {
        /// Its id.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Try one with other data: a new event takes its place.
    Edit {
        /// Its id.
        id: String,
        /// The new data as JSON, `@FILE`, or `-` for standard input.
        data: Option<String>,
        /// Why; it is kept with the act.
        #[arg(long)]
        reason: String,
        /// Also when the `on_dead` event was stored: the flow may be answered twice.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Record that one was done outside of the bus, and let its flow go on.
    Done {
        /// Its id.
        id: String,
        /// How, and by whom; it is kept with the act.
        #[arg(long)]
        reason: String,
        /// An event that the step would have emitted, with its data as JSON, `@FILE` or `-`; may be given often.
        #[arg(long, num_args = 2, value_names = ["NAME", "DATA"], action = ArgAction::Append)]
        emit: Vec<String>,
        /// The flow's result as JSON, `@FILE` or `-`, if this is its end.
        #[arg(long, value_name = "DATA")]
        result: Option<String>,
        /// Also when the `on_dead` event was stored: the flow may be answered twice.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List what has failed alike, the most frequent first.
    Groups {
        /// Of this subscription.
        #[arg(long)]
        subscription: Option<String>,
        /// The most to show.
        #[arg(long, default_value_t = 50)]
        limit: usize,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List what waits behind one.
    Waiting {
        /// Its id.
        id: String,
        /// The most to show.
        #[arg(long, default_value_t = 50)]
        limit: usize,
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
    /// With --all: how fast, such as 100/s, 10/m, 5/h.
    #[arg(long, conflicts_with = "ids")]
    pub(super) rate: Option<String>,
    /// With --all: those that are dead since this time or later, RFC 3339.
    #[arg(long, value_name = "TIME", conflicts_with = "ids")]
    pub(super) since: Option<String>,
    /// With --all: those that were dead before this time.
    #[arg(long, value_name = "TIME", conflicts_with = "ids")]
    pub(super) until: Option<String>,
    /// With --all: start the job and do not wait for its end.
    #[arg(long, conflicts_with_all = ["ids", "dry_run"])]
    pub(super) detach: bool,
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
    /// Of this group, as `dead groups` shows it.
    #[arg(long)]
    pub(super) group: Option<String>,
    /// Of this key.
    #[arg(long)]
    pub(super) key: Option<String>,
    /// Of the event with this id.
    #[arg(long)]
    pub(super) event: Option<String>,
}

/// `replay`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("begin").required(true).args(["since", "from"]))]
pub(super) struct ReplayArgs {
    /// The subscription.
    pub(super) subscription: String,
    /// Events acknowledged at this time or later, such as 2026-03-01T08:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<String>,
    /// Events from this number on, or `start` for all that are kept.
    #[arg(long, value_name = "NUMBER|start")]
    pub(super) from: Option<String>,
    /// Events acknowledged at this time or earlier.
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<String>,
    /// Events with this name; it may be a pattern.
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Events with this key.
    #[arg(long)]
    pub(super) key: Option<String>,
    /// Only count what it would do.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Why; it is kept with the act.
    #[arg(long, default_value = "replayed from the command line")]
    pub(super) reason: String,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// `replays`.
#[derive(Debug, Args)]
pub(super) struct ReplaysArgs {
    /// Stop this replay; what it has queued stays queued.
    #[arg(long, value_name = "ID")]
    pub(super) stop: Option<String>,
    /// Why; it is kept with the act.
    #[arg(long, requires = "stop")]
    pub(super) reason: Option<String>,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// `unrouted`.
#[derive(Debug, Args)]
pub(super) struct UnroutedArgs {
    /// What the `where` of this subscription has kept out, instead.
    #[arg(long, value_name = "SUBSCRIPTION")]
    pub(super) filtered: Option<String>,
    /// The most to show.
    #[arg(long, default_value_t = 50)]
    pub(super) limit: usize,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// `jobs`.
#[derive(Debug, Args)]
pub(super) struct JobsArgs {
    #[command(subcommand)]
    pub(super) verb: Option<JobsVerb>,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// What to do with jobs.
#[derive(Debug, Subcommand)]
pub(super) enum JobsVerb {
    /// Show all of them, the newest first.
    List(ServerArgs),
    /// Show one, or what came of each of its dead letters.
    Show {
        /// The job.
        id: String,
        /// Show what came of each of its dead letters.
        #[arg(long)]
        items: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Wait for the end of one.
    Follow {
        /// The job.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Stop one: what it has done stays done.
    Stop {
        /// The job.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Let one go on that was stopped.
    Resume {
        /// The job.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// `audit`; all that is given must hold.
#[derive(Debug, Args)]
pub(super) struct AuditArgs {
    /// Facts of this name.
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Told at this time or later, RFC 3339.
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<String>,
    /// Told before this time.
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<String>,
    /// About this dead letter, subscription, flow or job, or caused by this event.
    #[arg(long, value_name = "ID")]
    pub(super) about: Option<String>,
    /// Acts of this person.
    #[arg(long, value_name = "NAME")]
    pub(super) who: Option<String>,
    /// The most to show.
    #[arg(long, default_value_t = 50)]
    pub(super) limit: usize,
    #[command(flatten)]
    pub(super) server: ServerArgs,
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
