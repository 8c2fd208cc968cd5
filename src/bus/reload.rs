//! Reload: asking for the wiring of the config to be taken while the bus runs, and what comes of it.
//!
//! The bus knows no config: whoever started it says with [`Bus::on_reload`] how a reload is done, and doors
//! and signals ask for one with [`Bus::reload`].

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::handle::Bus;
use super::{Operator, QueryError};
use crate::store::Change;

/// What somebody wants.
#[derive(Debug, Clone, Default)]
pub struct ReloadAsk {
    /// Only say what would change.
    pub dry_run: bool,
    /// Take no subscription away: one that the config names no more refuses the reload.
    pub keeps_all: bool,
    /// Who wants it.
    pub operator: Operator,
}

/// How a reload is done.
#[derive(Clone)]
pub(super) struct Reloader(Arc<ReloadFn>);

type ReloadFn = dyn Fn(Bus, ReloadAsk) -> BoxFuture<'static, Result<WiringDiff, ReloadError>> + Send + Sync;

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reloader")
    }
}

/// What changes between the wiring that runs and the one in the config.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WiringDiff {
    /// It is in force now; `false` for a dry run, and when there was nothing to change.
    pub applied: bool,
    /// Subscriptions that the bus has never had.
    pub added: Vec<SubscriptionDiff>,
    /// Subscriptions that were orphaned and are back, with the backlog they take up.
    pub attached: Vec<SubscriptionDiff>,
    /// Subscriptions whose settings change.
    pub changed: Vec<SubscriptionDiff>,
    /// Subscriptions that the config names no more, with the backlog that stays.
    pub orphaned: Vec<SubscriptionDiff>,
    /// Names of those that stay as they are.
    pub unchanged: Vec<String>,
    /// Schedules and deadlines that change.
    #[serde(default)]
    pub timed: Vec<KeyDiff>,
    /// Keys that differ and take effect with the next start only.
    pub needs_restart: Vec<KeyDiff>,
    /// What somebody should look at, with its place.
    pub warnings: Vec<String>,
}

/// What changes of one subscription.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SubscriptionDiff {
    /// Its name.
    pub name: String,
    /// The step it runs.
    pub step: String,
    /// The patterns it listens to.
    pub on: Vec<String>,
    /// Deliveries not settled, dead letters left out.
    pub backlog: u64,
    /// Dead letters.
    pub dead: u64,
    /// The keys that differ.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyDiff>,
    /// Its running attempts end before the change; without, it changes while they run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_replaced: bool,
}

/// One key with its value before and after, as the config would write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct KeyDiff {
    /// The key.
    pub key: String,
    /// Its value now; absent when it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Its value in the config; absent when it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

impl WiringDiff {
    /// Whether there is nothing to do without a restart.
    pub fn is_empty(&self) -> bool {
        [&self.added, &self.attached, &self.changed, &self.orphaned].iter().all(|list| list.is_empty())
            && self.timed.is_empty()
    }
}

/// One thing that is wrong with a config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WiringFault {
    /// File, line and column.
    pub place: String,
    /// What is wrong, and what to write instead.
    pub detail: String,
}

/// A wiring was not taken. The one before is in force.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The config has errors.
    #[error("the config is refused, the wiring of before stays in force:\n{text}")]
    Refused {
        /// All of it, as people read it.
        text: String,
        /// Each error.
        faults: Vec<WiringFault>,
    },
    /// It cannot be done as things stand.
    #[error("not reloaded, the wiring of before stays in force: {why}")]
    NotNow {
        /// Why, and what to do.
        why: String,
    },
    /// The bus was started without config files.
    #[error("this bus was not started from config files; there is nothing to reload")]
    NoConfig,
    /// The bus or its store has no answer.
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl Bus {
    /// Says how a reload is done. Only the first word counts.
    pub fn on_reload(
        &self,
        reload: impl Fn(Self, ReloadAsk) -> BoxFuture<'static, Result<WiringDiff, ReloadError>>
        + Send
        + Sync
        + 'static,
    ) {
        let _is_first = self.0.reloader.set(Reloader(Arc::new(reload))).is_ok();
    }

    /// Loads and checks the config anew, and takes its wiring when it is without error.
    ///
    /// # Guarantees
    /// All or nothing: the wiring is the new one or the one of before. The change and the fact that tells of
    /// it are one commit. A caller who goes away meanwhile leaves it to its end.
    ///
    /// # Errors
    /// [`ReloadError`]; the wiring of before is in force then.
    pub async fn reload(&self, ask: ReloadAsk) -> Result<WiringDiff, ReloadError> {
        let Some(Reloader(reload)) = self.0.reloader.get() else { return Err(ReloadError::NoConfig) };
        let reload = reload(self.clone(), ask);
        match self.0.pool.spawn(reload).await {
            Ok(done) => done,
            Err(_) => Err(ReloadError::NotNow { why: "the bus ends, or the reload panicked".to_owned() }),
        }
    }

    /// Stores the fact that a config was refused.
    pub(crate) async fn tell_refused(&self, ask: &ReloadAsk, error: &ReloadError) {
        let faults = if let ReloadError::Refused { faults, .. } = error { faults.as_slice() } else { &[] };
        let data = serde_json::json!({ "problem": error.to_string(), "faults": faults });
        let fact = ask.operator.fact("tidegate.wiring.refused", "wiring", data);
        if let Some(routed) = fact.and_then(|fact| self.0.routing.fact(fact, self.0.clock.now())) {
            // A bus that has ended has nobody to tell.
            drop(self.0.submitter.commit(vec![Change::Publish(vec![routed])]).await);
        }
    }
}
