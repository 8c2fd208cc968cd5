//! Tree: a flow drawn for people, each event below the one that caused it.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::output::{Paint, Tone, clean_line, plural};
use crate::bus::view::{AttemptView, DeliveryStatus, DeliveryView, FlowEventView, FlowStatus, FlowView};

/// Draws a flow.
pub(super) fn render(flow: &FlowView, paint: Paint) -> String {
    let mut tree = Tree::new(flow, paint);
    tree.lines.push(format!(
        "flow {}  {}  ({}, {} open, {})",
        paint.tint(Tone::Strong, &clean_line(&flow.flow)),
        word_of(flow.status, paint),
        plural(flow.events.len() as u64, "event"),
        flow.open,
        plural(flow.dead, "dead letter")
    ));
    if let Some(result) = &flow.result {
        tree.lines.push(format!("result {}", clean_line(result.get())));
    }
    tree.lines.extend(deadline_of(flow.deadline.as_deref(), flow.overdue));
    if let Some(back) = &flow.compensation {
        let (undone, left) = (back.undone, back.left);
        let by = if back.by.is_empty() { String::new() } else { format!(" by {}", clean_line(&back.by)) };
        let (state, reason) = (clean_line(&back.state), clean_line(&back.reason));
        tree.lines.push(format!("{state}{by}, {undone} undone, {left} left: {reason}"));
    }
    // First what nothing in this flow has caused; then, should causes run in a circle, whatever is left.
    for is_leftover in [false, true] {
        for (index, event) in flow.events.iter().enumerate() {
            if is_leftover || !tree.has_cause(event) {
                tree.draw(index);
            }
        }
    }
    if !flow.pending.is_empty() {
        let names: Vec<String> = flow.pending.iter().map(|name| clean_line(name)).collect();
        tree.lines.push(format!("not reached yet: {}", names.join(", ")));
    }
    tree.lines.join("\n")
}

/// The status of a flow, in its colour.
pub(super) fn word_of(status: FlowStatus, paint: Paint) -> String {
    let (tone, word) = match status {
        FlowStatus::Accepted => (Tone::Busy, "accepted"),
        FlowStatus::Processing => (Tone::Busy, "processing"),
        FlowStatus::Done => (Tone::Good, "done"),
        FlowStatus::Failed => (Tone::Bad, "failed"),
        FlowStatus::Compensating => (Tone::Busy, "compensating"),
        FlowStatus::Compensated => (Tone::Good, "compensated"),
        FlowStatus::Stuck => (Tone::Bad, "stuck"),
    };
    paint.tint(tone, word)
}

/// A delivery: one line, and one more for each thing that went otherwise than straight.
pub(super) fn delivery(delivery: &DeliveryView, paint: Paint) -> Vec<String> {
    let (mark, tone, word) = match delivery.state {
        DeliveryStatus::Ready => ("·", Tone::Busy, "ready"),
        DeliveryStatus::Inflight => ("▶", Tone::Busy, "inflight"),
        DeliveryStatus::Waiting => ("…", Tone::Busy, "waiting"),
        DeliveryStatus::Parked => ("‖", Tone::Bad, "parked"),
        DeliveryStatus::Done => ("✓", Tone::Good, "done"),
        DeliveryStatus::Skipped => ("↷", Tone::Faint, "skipped"),
        DeliveryStatus::Dead => ("✗", Tone::Bad, "dead"),
    };
    let mark = format!("{} {}", paint.tint(tone, mark), clean_line(&delivery.subscription));
    let mut head = vec![mark, paint.tint(tone, word)];
    if delivery.attempts > 0 {
        let attempts = plural(u64::from(delivery.attempts), "attempt");
        head.push(paint.tint(Tone::Faint, &format!("{attempts}{}", times(&delivery.history))));
    }
    head.extend(delivery.due.as_ref().map(|due| format!("again at {}", clean_line(due))));
    let mut lines = vec![head.join("  ")];
    lines.extend(delivery.progress.as_ref().map(|text| format!("says: {}", clean_line(text))));
    let is_straight =
        delivery.history.iter().all(|attempt| attempt.error.is_none() && attempt.states.is_none());
    if is_straight {
        lines.extend(
            delivery.error.as_ref().map(|error| paint.tint(tone_of(delivery.state), &clean_line(error))),
        );
    } else {
        let tried = delivery.history.iter().filter(|entry| !is_by_hand(entry)).count() as u64;
        let mut number = u64::from(delivery.attempts).saturating_sub(tried);
        for entry in &delivery.history {
            if is_by_hand(entry) {
                lines.push(act(entry));
            } else {
                number += 1;
                lines.push(attempt(number, entry));
                lines.extend(states(entry, paint));
            }
        }
    }
    lines.extend(delivery.key_state.as_ref().map(|state| {
        let key = clean_line(delivery.key.as_deref().unwrap_or_default());
        paint.tint(Tone::Faint, &format!("state of {key:?} now: {}", clean_line(state.get())))
    }));
    lines
}

/// Whether an entry of the history is what a person did, and no attempt.
fn is_by_hand(entry: &AttemptView) -> bool {
    matches!(entry.outcome.as_str(), "retried" | "skipped by hand" | "replayed")
}

fn act(entry: &AttemptView) -> String {
    let reason = entry.error.as_ref().map_or(String::new(), |reason| format!(": {}", clean_line(reason)));
    format!("by hand {}  {}{reason}", clean_line(&entry.at), clean_line(&entry.outcome))
}

/// An error that was overcome is no bad news.
fn tone_of(state: DeliveryStatus) -> Tone {
    if state == DeliveryStatus::Dead { Tone::Bad } else { Tone::Faint }
}

fn attempt(number: u64, attempt: &AttemptView) -> String {
    let error = attempt.error.as_ref().map_or(String::new(), |error| format!(": {}", clean_line(error)));
    let (at, ran) = (clean_line(&attempt.at), millis(attempt.ran_ms));
    format!("{number}. {at}  {}{error}  (ran {ran})", clean_line(&attempt.outcome))
}

fn states(attempt: &AttemptView, paint: Paint) -> Option<String> {
    let states = attempt.states.as_ref()?;
    let side =
        |side: &Option<Box<RawValue>>| side.as_ref().map_or("none".into(), |state| clean_line(state.get()));
    let (before, after) = (side(&states.before), side(&states.after));
    let text =
        if before == after { format!("state stays {before}") } else { format!("state {before} -> {after}") };
    Some(paint.tint(Tone::Faint, &format!("   {text}")))
}

fn times(history: &[AttemptView]) -> String {
    if history.is_empty() {
        return String::new();
    }
    let sum = |part: fn(&AttemptView) -> u64| history.iter().map(part).fold(0, u64::saturating_add);
    format!(", waited {}, ran {}", millis(sum(|a| a.waited_ms)), millis(sum(|a| a.ran_ms)))
}

/// A length of time for people.
pub(super) fn millis(millis: u64) -> String {
    let (seconds, rest) = (millis / 1_000, millis % 1_000);
    match seconds {
        0 => format!("{millis} ms"),
        1..60 => format!("{seconds}.{} s", rest / 100),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// By when a flow should be at rest, and whether it was not.
pub(super) fn deadline_of(deadline: Option<&str>, overdue: bool) -> Option<String> {
    let passed = if overdue { ", passed" } else { "" };
    deadline.map(|deadline| format!("deadline {}{passed}", clean_line(deadline)))
}

struct Tree<'a> {
    flow: &'a FlowView,
    paint: Paint,
    /// Which events an event id has caused.
    caused: BTreeMap<&'a str, Vec<usize>>,
    is_drawn: Vec<bool>,
    lines: Vec<String>,
}

impl<'a> Tree<'a> {
    fn new(flow: &'a FlowView, paint: Paint) -> Self {
        let mut caused: BTreeMap<&str, Vec<usize>> =
            flow.events.iter().map(|event| (event.id.as_str(), Vec::new())).collect();
        for (index, event) in flow.events.iter().enumerate() {
            if let Some(children) = event.causation.as_deref().and_then(|cause| caused.get_mut(cause)) {
                children.push(index);
            }
        }
        Self { flow, paint, caused, is_drawn: vec![false; flow.events.len()], lines: Vec::new() }
    }

    fn has_cause(&self, event: &FlowEventView) -> bool {
        event.causation.as_deref().is_some_and(|cause| self.caused.contains_key(cause))
    }

    /// Draws an event and all below it. With a stack of its own: a chain may be longer than the thread's.
    fn draw(&mut self, root: usize) {
        let mut waiting = vec![(root, String::new(), true)];
        while let Some((index, indent, is_last)) = waiting.pop() {
            let Some(event) = self.flow.events.get(index) else { continue };
            if self.is_drawn.get_mut(index).is_none_or(|is_drawn| std::mem::replace(is_drawn, true)) {
                continue;
            }
            self.lines.push(format!("{indent}{}{}", branch(is_last), self.head(event)));
            let inner = format!("{indent}{}", trunk(is_last));
            let children = self.caused.get(event.id.as_str()).cloned().unwrap_or_default();
            self.deliveries(event, &inner, children.is_empty());
            let last = children.last().copied();
            waiting
                .extend(children.into_iter().rev().map(|child| (child, inner.clone(), Some(child) == last)));
        }
    }

    fn head(&self, event: &FlowEventView) -> String {
        let mut head = vec![self.paint.tint(Tone::Strong, &clean_line(&event.name)), clean_line(&event.id)];
        if event.source != "/http" {
            head.push(format!("from {}", clean_line(&event.source)));
        }
        if let Some(cause) = event.causation.as_ref().filter(|_| !self.has_cause(event)) {
            head.push(format!("caused by {}", clean_line(cause)));
        }
        head.push(self.paint.tint(Tone::Faint, &self.moment(event)));
        head.join("  ")
    }

    /// The time of the first event, and how long after it for all others.
    fn moment(&self, event: &FlowEventView) -> String {
        let time = |event: &FlowEventView| event.time.parse::<jiff::Timestamp>().ok();
        let first = self.flow.events.first().filter(|first| !std::ptr::eq(*first, event));
        let after =
            first.and_then(|first| Some(time(event)?.as_millisecond() - time(first)?.as_millisecond()));
        match after.and_then(|after| u64::try_from(after).ok()) {
            Some(after) => format!("+{}", millis(after)),
            None => clean_line(&event.time),
        }
    }

    fn deliveries(&mut self, event: &FlowEventView, indent: &str, ends_here: bool) {
        for (index, one) in event.deliveries.iter().enumerate() {
            let is_last = ends_here && index + 1 == event.deliveries.len();
            let mut texts = delivery(one, self.paint).into_iter();
            self.lines.extend(texts.next().map(|head| format!("{indent}{}{head}", branch(is_last))));
            self.lines.extend(texts.map(|more| format!("{indent}{}  {more}", trunk(is_last))));
        }
        if event.deliveries.is_empty() && ends_here {
            let nobody = if event.filtered.is_empty() {
                "nobody listens".to_owned()
            } else {
                clean_line(&format!("kept out by the `where` of {}", event.filtered.join(", ")))
            };
            let nobody = self.paint.tint(Tone::Faint, &nobody);
            self.lines.push(format!("{indent}{}{nobody}", branch(true)));
        }
    }
}

fn branch(is_last: bool) -> &'static str {
    if is_last { "└─ " } else { "├─ " }
}

fn trunk(is_last: bool) -> &'static str {
    if is_last { "   " } else { "│  " }
}

#[cfg(test)]
mod tests;
