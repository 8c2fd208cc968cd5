//! Reading `[subscription.<name>]`: a step bound to event names.

use super::breaker::breaker;
use super::filter::filter;
use super::problem::{Problem, suggestion};
use super::read::{Reader, Section};
use super::settings::{DefaultSettings, Order, StartFrom, SubscriptionSettings};
use super::shape::{CONCURRENCY_MAX, TICK, retry};
use super::spans::Spot;
use super::units::parse_rate;
use crate::event::{EventName, Pattern, PatternSet, Timestamp};

/// Reads one subscription; `None` when it is refused as a whole.
pub(super) fn subscription(
    reader: &Reader<'_>,
    all: &Section<'_>,
    name: &str,
    defaults: &DefaultSettings,
) -> Option<SubscriptionSettings> {
    if !is_wanted(reader, all, name) {
        return None;
    }
    let mut section = all.child(name);
    if !section.is_table() {
        return None;
    }
    let orders = [("key", Order::Key), ("none", Order::None)];
    let (step, on) = (section.text("step"), patterns(reader, &mut section));
    let filter = filter(&mut section);
    let concurrency = section.whole("concurrency", defaults.concurrency, 1..=CONCURRENCY_MAX);
    let rate = section.parsed("rate", "a rate", parse_rate);
    let timeout = section.duration("timeout", defaults.timeout, TICK);
    let order = section.choice("order", &orders).unwrap_or(Order::Key);
    let pure = section.boolean("pure", false);
    let retry = retry(section.table("retry"), &defaults.retry);
    let breaker = breaker(&mut section);
    let on_dead = section.parsed("on_dead", "an event name that steps may emit", emitted);
    let compensate = section.boolean("compensate", false);
    if compensate && on_dead.is_some() {
        section.refuse(
            "compensate",
            format!("subscription `{name}` has both `on_dead` and `compensate`"),
            "what `on_dead` emits would be skipped with the rest of the flow; choose one",
        );
    }
    let keep_states = section.boolean("keep_states", false);
    let from = section.parsed("from", "\"now\", \"start\" or a time", start).unwrap_or(StartFrom::Now);
    for key in ["step", "on"] {
        if !section.has(key) && reader.is_complete {
            let message = format!("subscription `{name}` has no `{key}`");
            all.refuse(name, message, "a subscription needs `step` and `on`");
        }
    }
    section.finish();
    let name = name.to_owned();
    let (step, on) = (step?, on?);
    Some(SubscriptionSettings {
        name,
        step,
        on,
        filter,
        concurrency,
        rate,
        timeout,
        order,
        pure,
        retry,
        breaker,
        on_dead,
        compensate,
        keep_states,
        from,
    })
}

fn emitted(text: &str) -> Result<EventName, String> {
    let name = EventName::new(text).map_err(|error| error.to_string())?;
    if name.is_reserved() { Err("names under `tidegate.` are the bus's own".to_owned()) } else { Ok(name) }
}

/// Whether a person has written the subscription down, under a name it may have.
fn is_wanted(reader: &Reader<'_>, all: &Section<'_>, name: &str) -> bool {
    let is_file = |name: &str| reader.places.spots(&all.path_of(name)).iter().any(Spot::is_file);
    if !is_file(name) {
        if reader.is_complete {
            let known: Vec<&str> = all.names().into_iter().filter(|known| is_file(known)).collect();
            for spot in reader.places.spots(&all.path_of(name)) {
                let message = format!("names subscription `{name}`, which no file has");
                let help = suggestion(name, "subscriptions", known.iter().copied());
                reader.note(Problem::error(spot.at_key(), message).with_help(help));
            }
        }
        return false;
    }
    let is_name = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if !is_name {
        let message = format!("subscription name {name:?} must be lower-case letters, digits and `_`");
        all.refuse(
            name,
            message,
            "begin with a letter, for instance `send_receipt`: variables must be able to name it",
        );
    }
    is_name
}

/// Reads `on`, telling about each entry at its own place.
fn patterns(reader: &Reader<'_>, section: &mut Section<'_>) -> Option<PatternSet> {
    let entries = section.list("on")?;
    let mut is_good = true;
    for (index, entry) in entries.iter().enumerate() {
        let mut path = section.path_of("on");
        path.push(index.to_string());
        if reader.places.is_text(&section.path_of("on")) {
            path.pop();
        }
        let place = reader.places.of(&path);
        match Pattern::parse(entry) {
            Err(error) => {
                reader.note(Problem::error(place, error.to_string()));
                is_good = false;
            }
            Ok(pattern) if is_reserved_wildcard(&pattern) => {
                let message =
                    format!("pattern \"{entry}\" can match nothing: wildcards leave `tidegate.` out");
                let help = "write the names of the bus's own events one by one";
                reader.note(Problem::error(place, message).with_help(help));
                is_good = false;
            }
            Ok(_) => {}
        }
    }
    if entries.iter().all(|entry| entry.starts_with('!')) && is_good {
        section.refuse(
            "on",
            format!("`{}` matches nothing", section.dotted("on")),
            "name at least one event",
        );
        is_good = false;
    }
    is_good.then(|| PatternSet::parse(&entries).ok()).flatten()
}

fn is_reserved_wildcard(pattern: &Pattern) -> bool {
    let body = pattern.as_str().trim_start_matches('!');
    body.starts_with("tidegate.") && body.split('.').any(|token| token == "*" || token == ">")
}

fn start(text: &str) -> Result<StartFrom, &'static str> {
    match text {
        "now" => Ok(StartFrom::Now),
        "start" => Ok(StartFrom::Start),
        time => time
            .parse::<jiff::Timestamp>()
            .ok()
            .and_then(|time| u64::try_from(time.as_millisecond()).ok())
            .map(|millis| StartFrom::At(Timestamp(millis)))
            .ok_or("a time is written as RFC 3339, such as \"2026-03-01T08:00:00Z\""),
    }
}
