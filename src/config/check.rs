//! Wiring against the registered steps: what can never work is an error, what looks forgotten a warning.
//!
//! Whether `on_dead`'s event can be read from the data of the event that failed is not known here:
//! plain data has no types. The registry answers that when the event is emitted.

use std::collections::BTreeSet;

use super::problem::{Place, Problem, Problems, nearest, suggestion};
use super::{Order, Settings, SubscriptionSettings};
use crate::event::{EventName, FACTS, Pattern};
use crate::step::{Catalog, StepInfo};

/// Compares the wiring with the steps there are.
///
/// Errors: an unknown step, state without `order = "key"`, an event that the step has no handler for,
/// an `on_dead` event that no step knows. Warnings: a step or a handler that nothing is wired to, an
/// emitted event that nobody listens to, a pattern that matches no known event. An event that is only
/// published from outside is neither; the topology graph lists it.
pub fn check(settings: &Settings, catalog: &Catalog) -> Problems {
    let mut check = Check { settings, catalog, known: Vec::new(), problems: Problems::default() };
    check.names();
    for subscription in settings.subscriptions.values() {
        check.subscription(subscription);
    }
    check.unwired();
    check.unheard();
    check.timed();
    if settings.subscriptions.is_empty() {
        let problem = Problem::warning(Place::wiring(), "there is no subscription: nothing will run");
        check.problems.push(problem.with_help("write [subscription.<name>] into topology.toml"));
    }
    check.problems
}

struct Check<'a> {
    settings: &'a Settings,
    catalog: &'a Catalog,
    /// Every event name that a step handles or emits.
    known: Vec<EventName>,
    problems: Problems,
}

impl<'a> Check<'a> {
    fn names(&mut self) {
        for name in self.catalog.event_names() {
            match EventName::new(name) {
                Ok(name) => self.known.push(name),
                Err(error) => {
                    self.problems.push(Problem::error(Place::wiring(), format!("in a step: {error}")));
                }
            }
        }
    }

    fn subscription(&mut self, subscription: &'a SubscriptionSettings) {
        let place = self.place(subscription, "step");
        if let Some(step) = self.catalog.step(&subscription.step) {
            if step.stateful && subscription.order == Order::None {
                let message = format!("step `{}` keeps state, which needs the order of keys", step.name);
                let problem = Problem::error(self.place(subscription, "order"), message);
                self.problems.push(problem.with_help("leave `order` out, or write order = \"key\""));
            }
            for (index, pattern) in subscription.on.patterns().iter().enumerate() {
                let place = self.pattern_place(subscription, index);
                self.pattern(subscription, step, pattern, &place);
            }
        } else {
            let (name, step) = (&subscription.name, &subscription.step);
            let message = format!("subscription `{name}` names unknown step `{step}`");
            let help = suggestion(step, "steps", self.catalog.steps.iter().map(|step| step.name));
            self.problems.push(Problem::error(place, message).with_help(help));
        }
        self.on_dead(subscription);
    }

    fn pattern(
        &mut self,
        subscription: &SubscriptionSettings,
        step: &StepInfo,
        pattern: &Pattern,
        place: &Place,
    ) {
        if let Some(name) = pattern.exact() {
            self.exact(step, name, place);
            return;
        }
        let covered: Vec<&EventName> = self.known.iter().filter(|name| pattern.covers(name)).collect();
        if covered.is_empty() {
            self.covers_nothing(step, pattern, place);
            return;
        }
        let matched: Vec<&EventName> =
            covered.into_iter().filter(|name| subscription.on.matches(name)).collect();
        let lacking: Vec<&EventName> =
            matched.iter().copied().filter(|name| step.emits_on(name.as_str()).is_none()).collect();
        if pattern.is_exception() || lacking.is_empty() {
            return;
        }
        let message = format!(
            "pattern \"{}\" matches {}; step `{}` has no handler for {}",
            pattern.as_str(),
            join(&matched),
            step.name,
            join(&lacking)
        );
        let help = format!(
            "except them with \"!{}\", or name the events one by one",
            join_with(&lacking, "\", \"!")
        );
        self.problems.push(Problem::error(place.clone(), message).with_help(help));
    }

    /// A pattern with a wildcard, or an exception, that no known event falls under.
    fn covers_nothing(&mut self, step: &StepInfo, pattern: &Pattern, place: &Place) {
        let message = format!("pattern \"{}\" matches no event that any step knows", pattern.as_str());
        let near =
            nearest(pattern.as_str().trim_start_matches('!'), self.known.iter().map(EventName::as_str));
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            // An exception may well be there for an event that comes from outside.
            None if pattern.is_exception() => return,
            None => known_list("events", &self.known),
        };
        let is_error = !step.any && !pattern.is_exception();
        let make = if is_error { Problem::error } else { Problem::warning };
        self.problems.push(make(place.clone(), message).with_help(help));
    }

    fn exact(&mut self, step: &StepInfo, name: &str, place: &Place) {
        let is_known = self.known.iter().any(|known| known.as_str() == name);
        let is_reserved = name == "tidegate" || name.starts_with("tidegate.");
        if is_reserved && !FACTS.contains(&name) {
            let message = format!("the bus tells no event `{name}`");
            let help = suggestion(name, "events of the bus", FACTS.iter().copied());
            self.problems.push(Problem::error(place.clone(), message).with_help(help));
            return;
        }
        if step.emits_on(name).is_some() && (is_known || is_reserved) {
            return;
        }
        if !step.any {
            let message = format!("step `{}` has no handler for event `{name}`", step.name);
            let handled = step.on.iter().map(|(event, _)| *event);
            let help = if is_known {
                format!("it handles {}", join(&handled.collect::<Vec<_>>()))
            } else {
                suggestion(name, "handlers of the step", handled)
            };
            self.problems.push(Problem::error(place.clone(), message).with_help(help));
            return;
        }
        let message = format!("no step emits or handles event `{name}`");
        let problem = match nearest(name, self.known.iter().map(EventName::as_str)) {
            Some(near) => Problem::error(place.clone(), message).with_help(format!("did you mean `{near}`?")),
            None => Problem::warning(place.clone(), message)
                .with_help("only events published from outside can have this name"),
        };
        self.problems.push(problem);
    }

    fn on_dead(&mut self, subscription: &SubscriptionSettings) {
        let Some(event) = &subscription.on_dead else { return };
        let place = self.place(subscription, "on_dead");
        if !self.known.contains(event) {
            let message = format!("no step knows the event `{event}` of `on_dead`");
            let help = suggestion(event.as_str(), "events", self.known.iter().map(EventName::as_str));
            self.problems.push(Problem::error(place, message).with_help(help));
        } else if subscription.on.matches(event) {
            let message = format!("subscription `{}` listens to its own `on_dead` event", subscription.name);
            let help = "an event that fails again emits the next one, for ever";
            self.problems.push(Problem::warning(place, message).with_help(help));
        }
    }

    /// Steps without a subscription, and handlers that no subscription of their step leads to.
    fn unwired(&mut self) {
        for step in &self.catalog.steps {
            let wired =
                self.settings.subscriptions.values().filter(|subscription| subscription.step == step.name);
            let Some(first) = wired.clone().next() else {
                let message = format!("step `{}` is registered but no subscription runs it", step.name);
                let help = format!("write [subscription.{0}] with step = \"{0}\"", step.name);
                self.problems.push(Problem::warning(Place::wiring(), message).with_help(help));
                continue;
            };
            for (event, _) in &step.on {
                let Ok(name) = EventName::new(event) else { continue };
                if !wired.clone().any(|subscription| subscription.on.matches(&name)) {
                    let message = format!(
                        "step `{}` handles `{event}`, but no subscription of it listens to that",
                        step.name
                    );
                    let help = format!("add \"{event}\" to `on`");
                    self.problems.push(Problem::warning(self.place(first, "on"), message).with_help(help));
                }
            }
        }
    }

    /// Events that a wired step may emit and that no subscription hears.
    fn unheard(&mut self) {
        let mut told = BTreeSet::new();
        for subscription in self.settings.subscriptions.values() {
            let step = self.catalog.step(&subscription.step);
            let heard = self.known.iter().filter(|name| subscription.on.matches(name));
            let emitted = heard
                .filter_map(|name| step.and_then(|step| step.emits_on(name.as_str())))
                .flatten()
                .map(|event| (*event, "step"));
            let dead = subscription.on_dead.as_ref().map(|event| (event.as_str(), "on_dead"));
            let undoes = step.into_iter().flat_map(|step| step.undoes.iter().map(|event| (*event, "step")));
            for (event, key) in emitted.chain(dead).chain(undoes) {
                let Ok(name) = EventName::new(event) else { continue };
                let is_heard = self.settings.subscriptions.values().any(|other| other.on.matches(&name));
                if self.known.contains(&name) && !is_heard && told.insert(event) {
                    let message =
                        format!("`{event}`, emitted by `{}`, is heard by nobody", subscription.name);
                    self.problems.push(Problem::warning(self.place(subscription, key), message));
                }
            }
        }
    }

    /// Events that come by the time, or have one, and that no subscription hears.
    fn timed(&mut self) {
        let scheduled = self.settings.schedules.values().map(|schedule| {
            let path = vec!["schedule".to_owned(), schedule.name.clone(), "event".to_owned()];
            (&schedule.event, path, format!(", published by schedule `{}`,", schedule.name))
        });
        let tables = self.settings.events.keys().map(|name| {
            (name, vec!["event".to_owned(), name.to_string()], ", which has a table,".to_owned())
        });
        for (name, path, what) in scheduled.chain(tables) {
            if self.settings.subscriptions.values().any(|subscription| subscription.on.matches(name)) {
                continue;
            }
            let message = format!("`{name}`{what} is heard by nobody");
            let problem = Problem::warning(self.settings.places.of(&path), message);
            let near = nearest(name.as_str(), self.known.iter().map(EventName::as_str));
            let near = near.filter(|near| *near != name.as_str());
            self.problems.push(match near {
                Some(near) => problem.with_help(format!("did you mean `{near}`?")),
                None => problem,
            });
        }
    }

    fn place(&self, subscription: &SubscriptionSettings, key: &str) -> Place {
        self.settings.places.of(&path(subscription, key))
    }

    /// The place of one entry of `on`; of the whole list when a variable has replaced it.
    fn pattern_place(&self, subscription: &SubscriptionSettings, index: usize) -> Place {
        let mut path = path(subscription, "on");
        if !self.settings.places.is_text(&path) {
            path.push(index.to_string());
        }
        self.settings.places.of(&path)
    }
}

fn path(subscription: &SubscriptionSettings, key: &str) -> Vec<String> {
    ["subscription", &subscription.name, key].map(str::to_owned).to_vec()
}

fn join<T: std::fmt::Display>(names: &[T]) -> String {
    join_with(names, ", ")
}

fn join_with<T: std::fmt::Display>(names: &[T], between: &str) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

fn known_list(kind: &str, names: &[EventName]) -> String {
    if names.is_empty() { format!("there are no {kind}") } else { format!("known {kind}: {}", join(names)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_text;

    type Handlers = &'static [(&'static str, &'static [&'static str])];

    fn step(name: &'static str, stateful: bool, on: Handlers) -> StepInfo {
        StepInfo {
            name,
            stateful,
            blocking: false,
            any: false,
            on: on.iter().map(|(event, emits)| (*event, emits.to_vec())).collect(),
            any_emits: Vec::new(),
            undoes: Vec::new(),
        }
    }

    fn catalog() -> Catalog {
        Catalog {
            steps: vec![
                step("check", true, &[("order.submitted", &["order.checked", "order.refused"])]),
                step("pay", false, &[("order.checked", &["order.paid"])]),
                step("refund", false, &[("order.refund_initiated", &[])]),
                StepInfo { any: true, ..step("audit", true, &[]) },
            ],
        }
    }

    const GOOD: &str = r#"
[subscription.check]
step = "check"
on = ["order.submitted"]
[subscription.pay]
step = "pay"
on = ["order.checked"]
on_dead = "order.refund_initiated"
[subscription.refund]
step = "refund"
on = ["order.refund_initiated"]
[subscription.audit]
step = "audit"
on = ["order.>"]
"#;

    fn report(text: &str) -> String {
        check(&load_text(text).unwrap().settings, &catalog()).to_string()
    }

    #[test]
    fn an_undo_that_nobody_listens_to_is_told() {
        let mut catalog = catalog();
        catalog.steps[1].undoes = vec!["order.refund_initiated", "parcel.unpacked"];

        let report = check(&load_text(GOOD).unwrap().settings, &catalog).to_string();

        assert!(
            report.contains("6:8: warning: `parcel.unpacked`, emitted by `pay`, is heard by nobody"),
            "{report}"
        );
        assert!(report.contains("0 errors, 1 warning"), "{report}");
    }

    #[test]
    fn a_wiring_that_fits_has_no_problem() {
        assert_eq!(report(GOOD), "0 errors, 0 warnings");
    }

    /// What is replaced in the good wiring, by what, how many problems that makes, what is said.
    const MISFITS: &[(&str, &str, &str, &[&str])] = &[
        (
            "step = \"refund\"",
            "step = \"refnud\"",
            "1 error, 1 warning",
            &[
                "topology.toml:10:8: subscription `refund` names unknown step `refnud`",
                "did you mean `refund`?",
                "wiring: warning: step `refund` is registered but no subscription runs it",
            ],
        ),
        (
            "step = \"refund\"",
            "step = \"zzz\"",
            "1 error, 1 warning",
            &["known steps: check, pay, refund, audit"],
        ),
        (
            "step = \"check\"",
            "step = \"check\"\norder = \"none\"",
            "1 error, 0 warnings",
            &["topology.toml:4:9: step `check` keeps state"],
        ),
        (
            "[\"order.checked\"]",
            "[\"order.checked\", \"order.paid\"]",
            "1 error, 0 warnings",
            &[
                "topology.toml:7:24: step `pay` has no handler for event `order.paid`",
                "it handles order.checked",
            ],
        ),
        (
            "[\"order.checked\"]",
            "[\"order.cheked\"]",
            "1 error, 1 warning",
            &[
                "topology.toml:7:7: step `pay` has no handler for event `order.cheked`",
                "did you mean `order.checked`?",
                "handles `order.checked`, but no subscription of it listens",
            ],
        ),
        (
            "[\"order.checked\"]",
            "[\"order.*\"]",
            "1 error, 1 warning",
            &[
                "7:7: pattern \"order.*\" matches order.checked, order.paid, order.refund_initiated, order.refused, \
                 order.submitted; step `pay` has no handler for order.paid, order.refund_initiated, order.refused, \
                 order.submitted",
                "except them with \"!order.paid\", \"!order.refund_initiated\"",
                "listens to its own `on_dead` event",
            ],
        ),
        (
            "[\"order.checked\"]",
            "[\"order.checked\", \"bank.>\"]",
            "1 error, 0 warnings",
            &["7:24: pattern \"bank.>\" matches no event that any step knows"],
        ),
        (
            "[\"order.>\"]",
            "[\"order.>\", \"bank.>\", \"!order.piad\", \"!bank.x\"]",
            "0 errors, 2 warnings",
            &[
                "14:18: warning: pattern \"bank.>\" matches no event",
                "14:28: warning: pattern \"!order.piad\" matches no event",
            ],
        ),
        (
            "[\"order.>\"]",
            "[\"order.>\", \"order.submited\"]",
            "1 error, 0 warnings",
            &["14:18: no step emits or handles event `order.submited`", "did you mean `order.submitted`?"],
        ),
        (
            "[\"order.>\"]",
            "[\"order.>\", \"sensor.read\", \"tidegate.delivery.dead\"]",
            "0 errors, 1 warning",
            &["14:18: warning: no step emits or handles event `sensor.read`"],
        ),
        (
            "[\"order.>\"]",
            "[\"order.>\", \"tidegate.delivery.daed\"]",
            "1 error, 0 warnings",
            &[
                "14:18: the bus tells no event `tidegate.delivery.daed`",
                "did you mean `tidegate.delivery.dead`?",
            ],
        ),
        (
            "on_dead = \"order.refund_initiated\"",
            "on_dead = \"order.refund_inited\"",
            "1 error, 0 warnings",
            &[
                "8:11: no step knows the event `order.refund_inited` of `on_dead`",
                "did you mean `order.refund_initiated`?",
            ],
        ),
        (
            "[\"order.>\"]",
            "[\"order.paid\"]",
            "0 errors, 1 warning",
            &["3:8: warning: `order.refused`, emitted by `check`, is heard by nobody"],
        ),
    ];

    #[test]
    fn each_misfit_is_told_at_its_place() {
        for (from, to, count, expected) in MISFITS {
            assert!(GOOD.contains(from), "{from}");
            let report = report(&GOOD.replacen(from, to, 1));
            for part in *expected {
                assert!(report.contains(part), "{to}\n---\n{report}\n--- lacks: {part}");
            }
            assert!(report.ends_with(count), "{to}\n---\n{report}");
        }
    }

    #[test]
    fn an_empty_wiring_is_a_warning_beside_the_steps_that_wait() {
        let report = report("");

        assert!(report.contains("there is no subscription"), "{report}");
        assert!(report.ends_with("0 errors, 5 warnings"), "{report}");
    }
}
