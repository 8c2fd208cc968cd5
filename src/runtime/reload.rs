//! Reload: from the settings that run and those in the config to a difference, and to a bus that runs by them.
//!
//! The whole config is loaded and checked before anything changes. What is wrong with it is told and nothing
//! else happens. Steps are code and stay what they are; so does everything that is read once at the start,
//! and a difference there is listed as needing a restart, never passed over.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tracing::{info, warn};

use super::{Running, wire};
use crate::bus::view::SubscriptionView;
use crate::bus::{Bus, KeyDiff, ReloadAsk, ReloadError, Rewire, SubscriptionDiff, WiringDiff, WiringFault};
use crate::config::{self, Keys, Loaded, Problem, Problems, Settings, SubscriptionSettings};
use crate::delivery::Live;
use crate::step::Registry;
use crate::topology::Graph;

/// Keys for which a subscription gets another actor.
const REPLACING: [&str; 3] = ["step", "order", "pure"];

/// Loads the settings anew.
pub type Load = dyn Fn() -> Result<Loaded, Problems> + Send + Sync;

/// Where the settings of a running bus come from.
#[derive(Clone)]
pub struct ConfigSource {
    /// The folder with the files.
    pub folder: PathBuf,
    /// Loads them, with the variables and flags that the process was started with. It may block.
    pub load: Arc<Load>,
}

impl std::fmt::Debug for ConfigSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigSource").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// What a reload needs to know of the bus that runs. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Reloading(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Arc<Registry>,
    /// What `Reach` asks.
    graph: Live<Graph>,
    /// The settings in force. Held over a reload, so that there is one at a time.
    running: tokio::sync::Mutex<Settings>,
}

impl Reloading {
    pub(super) fn new(registry: Arc<Registry>, graph: Live<Graph>, settings: &Settings) -> Self {
        let running = tokio::sync::Mutex::new(settings.clone());
        Self(Arc::new(Inner { registry, graph, running }))
    }

    /// Takes what `load` gives.
    async fn reload(
        &self,
        bus: &Bus,
        load: impl FnOnce() -> Result<Loaded, Problems> + Send + 'static,
        ask: ReloadAsk,
    ) -> Result<WiringDiff, ReloadError> {
        let mut running = self.0.running.lock().await;
        let outcome = match tokio::task::spawn_blocking(load).await {
            Ok(Ok(loaded)) => self.take(&mut running, bus, loaded, &ask).await,
            Ok(Err(problems)) => Err(refused(&problems)),
            Err(_) => Err(ReloadError::NotNow { why: "loading the config panicked".to_owned() }),
        };
        let by = &ask.operator.by;
        match &outcome {
            Ok(diff) if diff.applied => {
                let (added, attached) = (diff.added.len(), diff.attached.len());
                let (changed, orphaned) = (diff.changed.len(), diff.orphaned.len());
                info!(by, added, attached, changed, orphaned, "the wiring is reloaded");
            }
            Ok(_) => info!(by, dry_run = ask.dry_run, "the wiring stays as it is"),
            Err(error) => {
                warn!(by, "{error}");
                if !ask.dry_run {
                    bus.tell_refused(&ask, error).await;
                }
            }
        }
        for key in outcome.iter().flat_map(|diff| &diff.needs_restart) {
            warn!(key = key.key, from = key.from, to = key.to, "differs in the config and needs a restart");
        }
        outcome
    }

    async fn take(
        &self,
        running: &mut Settings,
        bus: &Bus,
        loaded: Loaded,
        ask: &ReloadAsk,
    ) -> Result<WiringDiff, ReloadError> {
        let Loaded { settings: new, warnings: mut problems } = loaded;
        problems.merge(config::check(&new, &self.0.registry.catalog()));
        if problems.has_errors() {
            return Err(refused(&problems));
        }
        let mut diff = difference(running, &new, &bus.subscriptions().await?);
        diff.warnings.extend(problems.warnings().map(ToString::to_string));
        if ask.dry_run || diff.is_empty() {
            return Ok(diff);
        }
        if ask.keeps_all && !diff.orphaned.is_empty() {
            return Err(would_take_away(&diff));
        }
        diff.applied = true;
        bus.rewire(Rewire {
            subscriptions: wire::subscriptions(&new, &self.0.registry),
            patience: running.shutdown.drain,
            told: serde_json::to_value(&diff).unwrap_or_default(),
            operator: ask.operator.clone(),
        })
        .await?;
        bus.set_schedules(wire::schedules(&new));
        bus.set_deadlines(wire::deadlines(&new));
        self.0.graph.switch(Graph::of(&new, &self.0.registry.catalog()));
        // The rest runs as it was started, and goes on to differ.
        running.subscriptions = new.subscriptions;
        running.defaults = new.defaults;
        running.schedules = new.schedules;
        running.events = new.events;
        running.places = new.places;
        Ok(diff)
    }
}

impl Running {
    /// Lets the bus be reloaded from where its settings came from, by [`Bus::reload`].
    pub fn reload_from(&self, source: &ConfigSource) {
        let (reloading, load) = (self.reloading.clone(), Arc::clone(&source.load));
        self.bus.on_reload(move |bus, ask| {
            let (reloading, load) = (reloading.clone(), Arc::clone(&load));
            Box::pin(async move { reloading.reload(&bus, move || load(), ask).await })
        });
    }

    /// Takes the wiring of these settings, while the bus runs.
    ///
    /// # Errors
    /// [`ReloadError`]; the wiring of before is in force then.
    pub async fn reload(
        &self,
        settings: Result<Loaded, Problems>,
        ask: ReloadAsk,
    ) -> Result<WiringDiff, ReloadError> {
        let (reloading, bus) = (self.reloading.clone(), self.bus.clone());
        let Some(pool) = &self.pool else {
            return Err(ReloadError::NotNow { why: "the bus ends".to_owned() });
        };
        // On its own, so that a caller who goes away does not leave it half done.
        let done = pool.spawn(async move { reloading.reload(&bus, move || settings, ask).await });
        done.await.unwrap_or_else(|_| {
            Err(ReloadError::NotNow { why: "the bus ends, or the reload panicked".to_owned() })
        })
    }
}

fn refused(problems: &Problems) -> ReloadError {
    let fault = |problem: &Problem| {
        let place = &problem.place;
        let at = |part: Option<usize>| part.map(|part| format!(":{part}")).unwrap_or_default();
        let help = problem.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
        WiringFault {
            place: format!("{}{}{}", place.origin, at(place.line), at(place.column)),
            detail: format!("{}{help}", problem.message),
        }
    };
    ReloadError::Refused { text: problems.to_string(), faults: problems.errors().map(fault).collect() }
}

fn would_take_away(diff: &WiringDiff) -> ReloadError {
    let names: Vec<String> =
        diff.orphaned.iter().map(|gone| format!("{} (backlog {})", gone.name, gone.backlog)).collect();
    let why = format!(
        "the files name no more: {}; that is not taken by itself, since a file that is half written looks the same; run `tidegate reload` if it is meant",
        names.join(", ")
    );
    ReloadError::NotNow { why }
}

/// What changes from `old` to `new`.
fn difference(old: &Settings, new: &Settings, known: &[SubscriptionView]) -> WiringDiff {
    let known: BTreeMap<&str, &SubscriptionView> =
        known.iter().map(|view| (view.name.as_str(), view)).collect();
    let mut diff = WiringDiff {
        needs_restart: keys_that_differ(&old.keys(), &new.keys()),
        timed: keys_that_differ(&old.timed_keys(), &new.timed_keys()),
        ..WiringDiff::default()
    };
    for (name, wired) in &new.subscriptions {
        let view = known.get(name.as_str()).copied();
        match (old.subscriptions.get(name), view) {
            (Some(before), _) => changed(&mut diff, before, wired, view),
            (None, Some(view)) => diff.attached.push(subscription(wired, Some(view))),
            (None, None) => diff.added.push(subscription(wired, None)),
        }
    }
    for (name, wired) in old.subscriptions.iter().filter(|(name, _)| !new.subscriptions.contains_key(*name)) {
        diff.orphaned.push(subscription(wired, known.get(name.as_str()).copied()));
    }
    diff
}

fn changed(
    diff: &mut WiringDiff,
    before: &SubscriptionSettings,
    wired: &SubscriptionSettings,
    view: Option<&SubscriptionView>,
) {
    let name = &wired.name;
    let mut keys = keys_that_differ(&before.keys(), &wired.keys());
    if keys.iter().any(|key| key.key == "from") {
        keys.retain(|key| key.key != "from");
        let text = "`from` says what a new subscription sees; this one is there already";
        diff.warnings.push(format!("subscription `{name}`: {text}"));
    }
    if keys.is_empty() {
        return diff.unchanged.push(name.clone());
    }
    let is_replaced = keys.iter().any(|key| REPLACING.contains(&key.key.as_str()));
    diff.changed.push(SubscriptionDiff { keys, is_replaced, ..subscription(wired, view) });
}

fn subscription(wired: &SubscriptionSettings, view: Option<&SubscriptionView>) -> SubscriptionDiff {
    SubscriptionDiff {
        name: wired.name.clone(),
        step: wired.step.clone(),
        on: wired.on.patterns().iter().map(|pattern| pattern.as_str().to_owned()).collect(),
        backlog: view.map_or(0, |view| view.backlog),
        dead: view.map_or(0, |view| view.dead),
        keys: Vec::new(),
        is_replaced: false,
    }
}

fn keys_that_differ(old: &Keys, new: &Keys) -> Vec<KeyDiff> {
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let pair = |key: &String| (old.get(key).cloned(), new.get(key).cloned());
    let differing = names.into_iter().map(|key| (key, pair(key))).filter(|(_, (from, to))| from != to);
    differing.map(|(key, (from, to))| KeyDiff { key: key.clone(), from, to }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        config::load_text(text).unwrap().settings
    }

    #[test]
    fn what_cannot_change_without_a_restart_is_listed() {
        let old = settings("[app.bank]\nlatency = 1\n[store]\npath = \"a\"\n");
        let new =
            settings("[app.bank]\nlatency = 2\n[store]\npath = \"b\"\n[http]\nbind = \"127.0.0.1:1\"\n");

        let diff = difference(&old, &new, &[]);

        let keys: Vec<&str> = diff.needs_restart.iter().map(|key| key.key.as_str()).collect();
        assert_eq!(keys, ["app.bank.latency", "http.bind", "store.path"]);
        assert!(diff.is_empty(), "nothing to do: {diff:?}");
    }

    #[test]
    fn an_inherited_key_that_changes_is_a_change_of_who_inherits_it() {
        let wired = "[subscription.a]\nstep = \"s\"\non = [\"x.y\"]\n[subscription.b]\nstep = \"s\"\non = [\"x.y\"]\nconcurrency = 2\n";
        let old = settings(wired);
        let new = settings(&format!("[defaults]\nconcurrency = 5\n{wired}"));

        let diff = difference(&old, &new, &[]);

        assert_eq!(diff.unchanged, ["b"]);
        let [a] = diff.changed.as_slice() else { panic!("{diff:?}") };
        let key =
            KeyDiff { key: "concurrency".to_owned(), from: Some("8".to_owned()), to: Some("5".to_owned()) };
        assert_eq!((a.name.as_str(), &a.keys, a.is_replaced), ("a", &vec![key], false));
    }

    #[test]
    fn another_step_or_order_needs_another_actor() {
        let wired = |more: &str| format!("[subscription.a]\nstep = \"s\"\non = [\"x.y\"]\n{more}\n");
        for (more, is_replaced) in
            [("order = \"none\"", true), ("pure = true", true), ("timeout = \"1s\"", false)]
        {
            let diff = difference(&settings(&wired("")), &settings(&wired(more)), &[]);

            assert_eq!(diff.changed[0].is_replaced, is_replaced, "{more}");
        }
    }
}
