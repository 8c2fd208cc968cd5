//! Arguments about what runs: subscriptions, keys, the whole bus.

use clap::{Args, Subcommand};

use super::ServerArgs;

/// `subscriptions`.
#[derive(Debug, Args)]
pub(in crate::cli) struct SubscriptionsArgs {
    #[command(subcommand)]
    pub(in crate::cli) verb: Option<SubscriptionsVerb>,
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
}

/// What to do with subscriptions.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum SubscriptionsVerb {
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
pub(in crate::cli) struct ReloadArgs {
    /// Only say what would change.
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
    /// Why; it is kept with the act.
    #[arg(long, default_value = "")]
    pub(in crate::cli) reason: String,
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
}

/// `pause` and `resume`.
#[derive(Debug, Args)]
pub(in crate::cli) struct SteerArgs {
    /// The subscription; the whole bus when left out.
    pub(in crate::cli) subscription: Option<String>,
    /// Only this key of the subscription.
    #[arg(long, requires = "subscription")]
    pub(in crate::cli) key: Option<String>,
    /// Why; it is kept with the act.
    #[arg(long, default_value = "")]
    pub(in crate::cli) reason: String,
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
}

/// `drain`.
#[derive(Debug, Args)]
pub(in crate::cli) struct DrainArgs {
    /// The subscription; the whole bus when left out.
    pub(in crate::cli) subscription: Option<String>,
    /// Wait up to so many seconds; the exit code is 1 when something runs still.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(in crate::cli) wait: u64,
    /// Why; it is kept with the act.
    #[arg(long, default_value = "")]
    pub(in crate::cli) reason: String,
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
}
