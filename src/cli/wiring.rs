//! `check` and `graph`: the config files against the registered steps, before anything runs.

use std::sync::Arc;

use super::App;
use super::args::{ConfigArgs, GraphFormat};
use super::failure::Exit;
use super::output::{Output, Tone, clean, plural};
use crate::config::{self, Problems, Settings};
use crate::runtime::ConfigSource;
use crate::step::Registry;
use crate::topology::{EventNode, Graph};

const DEFAULT_DIR: &str = "config";

/// The settings and the steps, and what is wrong with them together.
#[derive(Debug)]
pub(super) struct Wiring {
    /// The settings.
    pub(super) settings: Settings,
    /// The application's steps.
    pub(super) registry: Registry,
    /// Every problem of both; errors stop a start.
    pub(super) problems: Problems,
}

/// Loads the config, builds the steps, and checks the one against the other.
///
/// # Errors
/// The problems, when they are such that there is nothing to check.
pub(super) fn load(app: &App, args: &ConfigArgs) -> Result<Wiring, Problems> {
    let dir = args.config.clone().unwrap_or_else(|| DEFAULT_DIR.into());
    let loaded = config::load_with_environment(&dir, args.set.iter().cloned())?;
    let (settings, mut problems) = (loaded.settings, loaded.warnings);
    let registry = match (app.steps)(&settings) {
        Ok(registry) => registry,
        Err(error) => {
            problems.merge(error.into());
            return Err(problems);
        }
    };
    problems.merge(config::check(&settings, &registry.catalog()));
    Ok(Wiring { settings, registry, problems })
}

/// Where a running server reads its config again: the same folder, variables and flags.
pub(super) fn source(args: &ConfigArgs) -> ConfigSource {
    let folder = args.config.clone().unwrap_or_else(|| DEFAULT_DIR.into());
    let (dir, set) = (folder.clone(), args.set.clone());
    ConfigSource { folder, load: Arc::new(move || config::load_with_environment(&dir, set.iter().cloned())) }
}

/// Prints every problem, and whether a start is possible.
pub(super) fn check(app: &App, args: &ConfigArgs, output: Output) -> Exit {
    let outcome = load(app, args);
    let problems = match &outcome {
        Ok(wiring) => &wiring.problems,
        Err(problems) => problems,
    };
    report(problems, output);
    if let (Ok(wiring), false, false) = (&outcome, problems.has_errors(), output.is_json) {
        output.text(&summary(wiring, output));
    }
    Exit::yes(!problems.has_errors())
}

/// Tells problems: to people on standard error, to scripts as a document.
pub(super) fn report(problems: &Problems, output: Output) {
    if output.is_json {
        output.document(problems);
    } else if !problems.is_empty() {
        output.note(&clean(&problems.to_string()));
    }
}

fn summary(wiring: &Wiring, output: Output) -> String {
    let graph = Graph::of(&wiring.settings, &wiring.registry.catalog());
    format!(
        "{}: {}, {}, {}",
        output.paint.tint(Tone::Good, "the config is good"),
        plural(graph.subscriptions().count() as u64, "subscription"),
        plural(wiring.registry.names().len() as u64, "step"),
        plural(graph.events().count() as u64, "event")
    )
}

/// Draws the wiring on standard output; what is loose in it goes to standard error.
pub(super) fn graph(app: &App, args: &ConfigArgs, format: Option<GraphFormat>, output: Output) -> Exit {
    let wiring = match load(app, args) {
        Ok(wiring) if !wiring.problems.has_errors() => wiring,
        Ok(Wiring { problems, .. }) | Err(problems) => {
            report(&problems, output);
            return Exit::No;
        }
    };
    let graph = Graph::of(&wiring.settings, &wiring.registry.catalog());
    match format.unwrap_or(if output.is_json { GraphFormat::Json } else { GraphFormat::Mermaid }) {
        GraphFormat::Mermaid => output.text(&graph.to_mermaid()),
        GraphFormat::Dot => output.text(&graph.to_dot()),
        GraphFormat::Json => output.document(&graph.to_json()),
    }
    for line in loose_ends(&graph) {
        output.note(&line);
    }
    Exit::Done
}

/// What begins or ends outside: mostly as it should be, sometimes a name misspelt.
fn loose_ends(graph: &Graph) -> Vec<String> {
    let list = |nodes: &mut dyn Iterator<Item = &EventNode>| {
        nodes.map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let unheard = list(&mut graph.heard_by_nobody());
    let foreign = list(&mut graph.emitted_by_nobody());
    let mut lines = Vec::new();
    if !unheard.is_empty() {
        lines.push(format!("nobody hears: {unheard}"));
    }
    if !foreign.is_empty() {
        lines.push(format!("nobody emits, so they must come from outside: {foreign}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(steps: fn(&Settings) -> Result<Registry, Box<dyn std::error::Error + Send + Sync>>) -> App {
        App { name: "test", steps }
    }

    /// What is wrong with one file and these steps, as people read it.
    fn problems(topology: &str, app: &App) -> String {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("topology.toml"), topology).unwrap();
        let args = ConfigArgs { config: Some(dir.path().to_owned()), set: Vec::new() };
        let problems = load(app, &args).map_or_else(|problems| problems, |wiring| wiring.problems);
        assert!(problems.has_errors(), "{problems}");
        problems.to_string()
    }

    #[test]
    fn a_table_of_the_application_that_does_not_fit_is_told_at_its_place() {
        let app = app(|settings| {
            settings.app::<std::collections::BTreeMap<String, u32>>("bank")?;
            Ok(Registry::new())
        });

        let text = problems("[app.bank]\nlatency = true\n", &app);

        assert!(text.contains("topology.toml:1:6"), "{text}");
        assert!(!text.contains("cannot build its steps"), "{text}");
    }

    #[test]
    fn an_application_that_cannot_build_its_steps_is_a_problem_too() {
        let text = problems("", &app(|_| Err("the ledger is locked".into())));

        assert!(text.contains("the application cannot build its steps: the ledger is locked"), "{text}");
    }

    #[test]
    fn a_wiring_without_its_step_is_refused_with_its_line() {
        let text =
            problems("[subscription.pay]\nstep = \"pay\"\non = [\"a.b\"]\n", &app(|_| Ok(Registry::new())));

        assert!(text.contains("topology.toml:2:8") && text.contains("unknown step `pay`"), "{text}");
    }
}
