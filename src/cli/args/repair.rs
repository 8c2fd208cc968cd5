//! Arguments about what was put right or is to be: dead letters, replays, jobs, the audit.

use clap::{ArgAction, Args, Subcommand};

use super::ServerArgs;

/// `dead`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum DeadVerb {
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
pub(in crate::cli) struct Which {
    /// Ids, as `dead list` shows them.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(in crate::cli) ids: Vec<String>,
    /// All that the filters below leave, instead of ids.
    #[arg(long)]
    pub(in crate::cli) all: bool,
    /// Only say which ones it would be.
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
    /// With --all: how fast, such as 100/s, 10/m, 5/h.
    #[arg(long, conflicts_with = "ids")]
    pub(in crate::cli) rate: Option<String>,
    /// With --all: those that are dead since this time or later, RFC 3339.
    #[arg(long, value_name = "TIME", conflicts_with = "ids")]
    pub(in crate::cli) since: Option<String>,
    /// With --all: those that were dead before this time.
    #[arg(long, value_name = "TIME", conflicts_with = "ids")]
    pub(in crate::cli) until: Option<String>,
    /// With --all: start the job and do not wait for its end.
    #[arg(long, conflicts_with_all = ["ids", "dry_run"])]
    pub(in crate::cli) detach: bool,
    #[command(flatten)]
    pub(in crate::cli) filter: DeadFilter,
}

/// Which dead letters to list; all that is given must hold.
#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(in crate::cli) struct DeadFilter {
    /// Of this subscription.
    #[arg(long)]
    pub(in crate::cli) subscription: Option<String>,
    /// Of this flow.
    #[arg(long)]
    pub(in crate::cli) flow: Option<String>,
    /// Of events with this name.
    #[arg(long)]
    pub(in crate::cli) name: Option<String>,
    /// Dead for this reason: attempts, fatal, undecodable, expired, crash.
    #[arg(long = "dead-reason", value_name = "REASON")]
    pub(in crate::cli) dead_reason: Option<String>,
    /// Of this group, as `dead groups` shows it.
    #[arg(long)]
    pub(in crate::cli) group: Option<String>,
    /// Of this key.
    #[arg(long)]
    pub(in crate::cli) key: Option<String>,
    /// Of the event with this id.
    #[arg(long)]
    pub(in crate::cli) event: Option<String>,
}

/// `replay`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("begin").required(true).args(["since", "from"]))]
pub(in crate::cli) struct ReplayArgs {
    /// The subscription.
    pub(in crate::cli) subscription: String,
    /// Events acknowledged at this time or later, such as 2026-03-01T08:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub(in crate::cli) since: Option<String>,
    /// Events from this number on, or `start` for all that are kept.
    #[arg(long, value_name = "NUMBER|start")]
    pub(in crate::cli) from: Option<String>,
    /// Events acknowledged at this time or earlier.
    #[arg(long, value_name = "TIME")]
    pub(in crate::cli) until: Option<String>,
    /// Events with this name; it may be a pattern.
    #[arg(long)]
    pub(in crate::cli) name: Option<String>,
    /// Events with this key.
    #[arg(long)]
    pub(in crate::cli) key: Option<String>,
    /// Only count what it would do.
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
    /// Why; it is kept with the act.
    #[arg(long, default_value = "replayed from the command line")]
    pub(in crate::cli) reason: String,
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
}

/// `replays`.
#[derive(Debug, Args)]
pub(in crate::cli) struct ReplaysArgs {
    /// Stop this replay; what it has queued stays queued.
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) stop: Option<String>,
    /// Why; it is kept with the act.
    #[arg(long, requires = "stop")]
    pub(in crate::cli) reason: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
}

/// `unrouted`.
#[derive(Debug, Args)]
pub(in crate::cli) struct UnroutedArgs {
    /// What the `where` of this subscription has kept out, instead.
    #[arg(long, value_name = "SUBSCRIPTION")]
    pub(in crate::cli) filtered: Option<String>,
    /// The most to show.
    #[arg(long, default_value_t = 50)]
    pub(in crate::cli) limit: usize,
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
}

/// `jobs`.
#[derive(Debug, Args)]
pub(in crate::cli) struct JobsArgs {
    #[command(subcommand)]
    pub(in crate::cli) verb: Option<JobsVerb>,
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
}

/// What to do with jobs.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum JobsVerb {
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
pub(in crate::cli) struct AuditArgs {
    /// Facts of this name.
    #[arg(long)]
    pub(in crate::cli) name: Option<String>,
    /// Told at this time or later, RFC 3339.
    #[arg(long, value_name = "TIME")]
    pub(in crate::cli) since: Option<String>,
    /// Told before this time.
    #[arg(long, value_name = "TIME")]
    pub(in crate::cli) until: Option<String>,
    /// About this dead letter, subscription, flow or job, or caused by this event.
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) about: Option<String>,
    /// Acts of this person.
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) who: Option<String>,
    /// The most to show.
    #[arg(long, default_value_t = 50)]
    pub(in crate::cli) limit: usize,
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
}
