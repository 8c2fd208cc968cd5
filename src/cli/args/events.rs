//! Arguments about events and flows: publish, look, find, move in time.

use clap::Args;

use super::ServerArgs;
use crate::event::{EventName, parse_span};

/// `publish`.
#[derive(Debug, Args)]
pub(in crate::cli) struct PublishArgs {
    /// The event's name, for instance `order.placed`.
    #[arg(value_parser = EventName::new)]
    pub(in crate::cli) name: EventName,
    /// The data as JSON, `@FILE`, or `-` for standard input; with --count a template.
    pub(in crate::cli) data: Option<String>,
    /// The event's id; made up when left out. The same id is stored once.
    #[arg(long)]
    pub(in crate::cli) id: Option<String>,
    /// The key that orders it: events of one key are handled one after the other.
    #[arg(long)]
    pub(in crate::cli) key: Option<String>,
    /// Who publishes it; an id is unique with its source.
    #[arg(long, default_value = "/http")]
    pub(in crate::cli) source: String,
    /// Not to be delivered before this time, RFC 3339.
    #[arg(long, value_name = "TIME")]
    pub(in crate::cli) at: Option<String>,
    /// Not to be delivered before so long from now, for instance `5m` or `7d`.
    #[arg(long, value_name = "SPAN", value_parser = span, conflicts_with = "at")]
    pub(in crate::cli) after: Option<std::time::Duration>,
    /// Wait up to so many seconds until the flow is at rest, and show it.
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["lines", "count"])]
    pub(in crate::cli) wait: Option<u64>,
    /// One event per line of the file, or of standard input.
    #[arg(long, conflicts_with_all = ["id", "count"])]
    pub(in crate::cli) lines: bool,
    /// So many events from DATA, with `{i}` replaced by 1, 2, … and `{i%M}` by its remainder.
    #[arg(long, value_name = "N", conflicts_with = "id", requires = "data")]
    pub(in crate::cli) count: Option<u64>,
    /// With --lines or --count: take the id from this field of the data (or a JSON pointer `/a/b`).
    #[arg(long, value_name = "FIELD")]
    pub(in crate::cli) id_field: Option<String>,
    /// With --lines or --count: take the key from this field of the data.
    #[arg(long, value_name = "FIELD", conflicts_with = "key")]
    pub(in crate::cli) key_field: Option<String>,
    /// With --lines or --count: requests at a time.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(in crate::cli) concurrency: u16,
    /// With --lines or --count: events in one request.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(in crate::cli) batch: u16,
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
}

/// `status`.
#[derive(Debug, Args)]
pub(in crate::cli) struct StatusArgs {
    /// The event's id.
    pub(in crate::cli) id: String,
    /// The event's source.
    #[arg(long, default_value = "/http")]
    pub(in crate::cli) source: String,
    /// Wait up to so many seconds until the flow is at rest.
    #[arg(long, value_name = "SECONDS")]
    pub(in crate::cli) wait: Option<u64>,
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
}

/// `explain`.
#[derive(Debug, Args)]
pub(in crate::cli) struct ExplainArgs {
    /// The event's id.
    pub(in crate::cli) id: String,
    /// The event's source.
    #[arg(long, default_value = "/http")]
    pub(in crate::cli) source: String,
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
}

/// `flow`.
#[derive(Debug, Args)]
pub(in crate::cli) struct FlowArgs {
    /// The flow's id, or with --event an event's id.
    pub(in crate::cli) id: String,
    /// ID is an event's: show the flow it belongs to.
    #[arg(long)]
    pub(in crate::cli) event: bool,
    /// The event's source, with --event.
    #[arg(long, default_value = "/http", requires = "event")]
    pub(in crate::cli) source: String,
    /// Show with each delivery the state that its step keeps for its key, as it is now, and with each attempt of a
    /// subscription with `keep_states` the state before and after it.
    #[arg(long)]
    pub(in crate::cli) state: bool,
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
}

/// `flows`.
#[derive(Debug, Args)]
pub(in crate::cli) struct FlowsArgs {
    /// Where it stands: accepted, processing, done, failed, compensating, compensated, stuck; open, rest, or
    /// dead (with dead letters).
    #[arg(long)]
    pub(in crate::cli) status: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) find: FindArgs,
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
}

/// `events`.
#[derive(Debug, Args)]
pub(in crate::cli) struct EventsArgs {
    /// Of this flow.
    #[arg(long)]
    pub(in crate::cli) flow: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) find: FindArgs,
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
}

/// What flows and events are found by; all that is given must hold.
#[derive(Debug, Args)]
pub(in crate::cli) struct FindArgs {
    /// With this key.
    #[arg(long)]
    pub(in crate::cli) key: Option<String>,
    /// With this event name.
    #[arg(long)]
    pub(in crate::cli) name: Option<String>,
    /// Acknowledged at this time or later: RFC 3339, or as long ago as `90s`, `15m`, `2h`, `3d`.
    #[arg(long, value_name = "TIME")]
    pub(in crate::cli) since: Option<String>,
    /// Acknowledged before this time, written as for --since.
    #[arg(long, value_name = "TIME")]
    pub(in crate::cli) until: Option<String>,
    /// The most to show.
    #[arg(long, default_value_t = 50)]
    pub(in crate::cli) limit: usize,
}

/// `cancel-flow`.
#[derive(Debug, Args)]
pub(in crate::cli) struct CancelFlowArgs {
    /// The flow's id.
    pub(in crate::cli) flow: String,
    /// Why; it is kept with the act.
    #[arg(long)]
    pub(in crate::cli) reason: String,
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
}

/// `cancel`.
#[derive(Debug, Args)]
pub(in crate::cli) struct CancelArgs {
    /// The event's id.
    pub(in crate::cli) id: String,
    /// The event's source.
    #[arg(long, default_value = "/http")]
    pub(in crate::cli) source: String,
    /// Why; it is kept with the act.
    #[arg(long)]
    pub(in crate::cli) reason: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
}

/// `reschedule`.
#[derive(Debug, Args)]
pub(in crate::cli) struct RescheduleArgs {
    /// The event's id.
    pub(in crate::cli) id: String,
    /// The event's source.
    #[arg(long, default_value = "/http")]
    pub(in crate::cli) source: String,
    /// When it is due instead, RFC 3339; a time that has passed means at once.
    #[arg(long, value_name = "TIME", required_unless_present = "after")]
    pub(in crate::cli) at: Option<String>,
    /// How long from now it is due instead, for instance `5m` or `7d`.
    #[arg(long, value_name = "SPAN", conflicts_with = "at")]
    pub(in crate::cli) after: Option<String>,
    /// Why; it is kept with the act.
    #[arg(long)]
    pub(in crate::cli) reason: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
}

fn span(text: &str) -> Result<std::time::Duration, String> {
    parse_span(text).ok_or_else(|| "write a whole number and a unit: 500ms, 5s, 10m, 24h or 7d".to_owned())
}
