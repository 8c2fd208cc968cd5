//! Reading `[schedule.<name>]` and `[event."<name>"]`: what the bus does by the time.

use std::collections::BTreeMap;

use super::app;
use super::problem::{Problem, suggestion};
use super::read::{Reader, Section};
use super::settings::{EventSettings, Missed, ScheduleSettings};
use super::shape::TICK;
use super::spans::{Kind, Spot};
use crate::cron::{Cron, TimeTable, Zone};
use crate::event::EventName;

/// Reads all schedules.
pub(super) fn schedules(reader: &Reader<'_>, all: &Section<'_>) -> BTreeMap<String, ScheduleSettings> {
    let names = all.names().into_iter();
    let read = names.filter_map(|name| schedule(reader, all, name));
    read.map(|schedule| (schedule.name.clone(), schedule)).collect()
}

fn schedule(reader: &Reader<'_>, all: &Section<'_>, name: &str) -> Option<ScheduleSettings> {
    if !is_written(reader, all, name, "schedule") {
        return None;
    }
    let is_name = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if !is_name {
        let message = format!("schedule name {name:?} must be lower-case letters, digits and `_`");
        all.refuse(name, message, "begin with a letter, for instance `nightly_settlement`");
        return None;
    }
    let mut section = all.child(name);
    if !section.is_table() {
        return None;
    }
    let event = section.parsed("event", "an event name that may be published", |text| {
        let name = EventName::new(text).map_err(|error| error.to_string())?;
        if name.is_reserved() {
            Err("names under `tidegate.` are the bus's own".to_owned())
        } else {
            Ok(name)
        }
    });
    let cron = section.parsed("cron", "a cron expression", Cron::parse);
    let has_zone = section.has("zone");
    let zone = section.parsed("zone", "a time zone", zone).or_else(|| (!has_zone).then(Zone::utc));
    let missed = section.choice("missed", &[("once", Missed::Once), ("skip", Missed::Skip)]);
    let key = section.text("key");
    let has_data = section.has("data");
    let data = section.table("data");
    let data = has_data.then(|| app::tables(reader, &data));
    for key in ["event", "cron"] {
        if !section.has(key) && reader.is_complete {
            let message = format!("schedule `{name}` has no `{key}`");
            all.refuse(name, message, "a schedule needs `event` and `cron`");
        }
    }
    section.finish();
    Some(ScheduleSettings {
        name: name.to_owned(),
        event: event?,
        table: TimeTable::new(cron?, zone?),
        missed: missed.unwrap_or(Missed::Once),
        data: data.map(|data| json(&toml::Value::Table(data)).to_string()),
        key,
    })
}

fn zone(text: &str) -> Result<Zone, String> {
    Zone::named(text).ok_or_else(|| {
        let names = Zone::names();
        match super::problem::nearest(text, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "write it like \"Europe/Berlin\", or \"UTC\"".to_owned(),
        }
    })
}

/// Reads all tables of events.
pub(super) fn events(reader: &Reader<'_>, all: &Section<'_>) -> BTreeMap<EventName, EventSettings> {
    all.names().into_iter().filter_map(|name| event(reader, all, name)).collect()
}

fn event(reader: &Reader<'_>, all: &Section<'_>, name: &str) -> Option<(EventName, EventSettings)> {
    if !is_written(reader, all, name, "event") {
        return None;
    }
    let mut section = all.child(name);
    if !section.is_table() {
        return None;
    }
    // `[event.a.b]` is a table `b` within `a`.
    let is_table =
        |key: &&str| reader.places.spots(&section.path_of(key)).iter().any(|s| s.kind == Kind::Table);
    if let Some(inner) = section.names().into_iter().find(is_table) {
        let help = format!("put the name of an event into quotes: [event.\"{name}.{inner}\"]");
        all.refuse(name, format!("`{}` is a table within a table", section.dotted(inner)), help);
        return None;
    }
    let parsed = match EventName::new(name) {
        Ok(parsed) if parsed.is_reserved() => {
            all.refuse(name, format!("event `{name}` is the bus's own"), "only your own events have a table");
            None
        }
        Ok(parsed) => Some(parsed),
        Err(error) => {
            all.refuse(name, error.to_string(), "put it into quotes: [event.\"order.placed\"]");
            None
        }
    };
    let has_deadline = section.has("deadline");
    let deadline = section.duration("deadline", TICK, TICK);
    let deadline = has_deadline.then_some(deadline);
    section.finish();
    Some((parsed?, EventSettings { deadline }))
}

/// Whether a person has written the table into a file.
fn is_written(reader: &Reader<'_>, all: &Section<'_>, name: &str, kind: &str) -> bool {
    let is_file = |name: &str| reader.places.spots(&all.path_of(name)).iter().any(Spot::is_file);
    if is_file(name) {
        return true;
    }
    if reader.is_complete {
        let known: Vec<&str> = all.names().into_iter().filter(|known| is_file(known)).collect();
        for spot in reader.places.spots(&all.path_of(name)) {
            let message = format!("names {kind} `{name}`, which no file has");
            let help = suggestion(name, &format!("{kind}s"), known.iter().copied());
            reader.note(Problem::error(spot.at_key(), message).with_help(help));
        }
    }
    false
}

/// TOML as JSON; a time is a text.
fn json(value: &toml::Value) -> serde_json::Value {
    match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => (*number).into(),
        toml::Value::Boolean(truth) => (*truth).into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => items.iter().map(json).collect(),
        toml::Value::Table(table) => {
            let members = table.iter().map(|(name, value)| (name.clone(), json(value)));
            serde_json::Value::Object(members.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{check, load, load_text};
    use super::*;
    use crate::event::Timestamp;
    use crate::step::Catalog;

    const NIGHTLY: &str = "[schedule.nightly]\nevent = \"settlement.due\"\ncron = \"0 2 * * *\"\n";

    #[test]
    fn schedules_and_deadlines_are_read_with_their_defaults() {
        let text = format!(
            "{NIGHTLY}\n[schedule.full]\nevent = \"a.b\"\ncron = \"@hourly\"\nzone = \"europe/berlin\"\n\
             missed = \"skip\"\nkey = \"k\"\ndata = {{ n = 1, list = [\"x\", 1.5], on = true, day = 2026-01-02 }}\n\
             [event.\"purchase.submitted\"]\ndeadline = \"10m\"\n[event.plain]\n"
        );

        let settings = load_text(&text).unwrap().settings;

        let (nightly, full) = (&settings.schedules["nightly"], &settings.schedules["full"]);
        assert_eq!((nightly.event.as_str(), nightly.missed), ("settlement.due", Missed::Once));
        assert_eq!((nightly.table.zone().name(), &nightly.data, &nightly.key), ("UTC", &None, &None));
        assert_eq!(nightly.table.after(Timestamp(0)), Some(Timestamp(2 * 3_600_000)));
        assert_eq!((full.table.zone().name(), full.missed), ("Europe/Berlin", Missed::Skip));
        assert_eq!(full.table.cron().to_string(), "@hourly");
        assert_eq!(full.key.as_deref(), Some("k"));
        let data: serde_json::Value = serde_json::from_str(full.data.as_deref().unwrap()).unwrap();
        assert_eq!(data, serde_json::json!({ "n": 1, "list": ["x", 1.5], "on": true, "day": "2026-01-02" }));
        let deadline = |name| settings.events[&EventName::new(name).unwrap()].deadline;
        assert_eq!(deadline("purchase.submitted"), Some(Duration::from_mins(10)));
        assert_eq!(deadline("plain"), None);
    }

    #[test]
    fn a_slip_is_told_at_its_place_with_a_remedy() {
        let nightly = |line: &str| format!("{NIGHTLY}{line}\n");
        let cases = [
            ("[schedule.nightly]\ncron = \"@daily\"".to_owned(), "1:11: schedule `nightly` has no `event`"),
            ("[schedule.nightly]\nevent = \"a.b\"".to_owned(), "1:11: schedule `nightly` has no `cron`"),
            ("[schedule.Nightly]\nevent = \"a.b\"\ncron = \"@daily\"".to_owned(), "1:11: schedule name"),
            (
                "[schedule.n]\nevent = \"a.b\"\ncron = \"0 25 * * *\"".to_owned(),
                "3:8: `schedule.n.cron` must be a cron expression\n|the hour `25` is no number from 0 to 23",
            ),
            ("[schedule.n]\nevent = \"tidegate.a\"\ncron = \"@daily\"".to_owned(), "2:9:|the bus's own"),
            ("[schedule.n]\nevent = \"A b\"\ncron = \"@daily\"".to_owned(), "2:9:|dotted lower case"),
            (nightly("zone = \"Europe/Berlim\""), "4:8:|did you mean `Europe/Berlin`?"),
            (nightly("missed = \"twice\""), "4:10:|\"once\" or \"skip\""),
            (nightly("data = 5"), "4:8: `schedule.nightly.data` must be a table"),
            (nightly("crn = \"x\""), "4:1: unknown key `crn`|did you mean `cron`?"),
            ("[event.\"a.b\"]\ndeadline = \"0s\"".to_owned(), "2:12:|must be at least 1ms"),
            ("[event.\"a.b\"]\ndeadlin = \"1s\"".to_owned(), "2:1: unknown key|did you mean `deadline`?"),
            ("[event.\"tidegate.a\"]\ndeadline = \"1s\"".to_owned(), "1:8: event `tidegate.a` is the bus's"),
            ("[event.\"A\"]\ndeadline = \"1s\"".to_owned(), "1:8:"),
            ("[event.a.b]\ndeadline = \"1s\"".to_owned(), "into quotes: [event.\"a.b\"]"),
            ("[schedule]\nnightly = 5".to_owned(), "must be a table"),
        ];
        for (text, told) in cases {
            let report = load_text(&text).expect_err(&text).to_string();
            for part in told.split('|') {
                assert!(report.contains(part.trim_end()), "{text}\n---\n{report}\n--- lacks: {part}");
            }
            assert!(report.contains("1 error"), "one slip is one error: {text}\n---\n{report}");
        }
    }

    #[test]
    fn a_variable_changes_a_schedule_of_a_file_and_makes_none() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("{NIGHTLY}data = {{ n = 1 }}\n");
        std::fs::write(dir.path().join("topology.toml"), text).unwrap();
        let with = |name: &str, value: &str| load(dir.path(), [(name.to_owned(), value.to_owned())], []);

        let changed = with("TIDEGATE__SCHEDULE__NIGHTLY__ZONE", "Asia/Tokyo").unwrap().settings;
        assert_eq!(changed.schedules["nightly"].table.zone().name(), "Asia/Tokyo");
        let data = with("TIDEGATE__SCHEDULE__NIGHTLY__DATA__N", "7").unwrap().settings;
        assert_eq!(data.schedules["nightly"].data.as_deref(), Some("{\"n\":7}"));
        let unknown = with("TIDEGATE__SCHEDULE__NIGHTLI__ZONE", "UTC").expect_err("refused").to_string();
        assert!(unknown.contains("names schedule `nightli`, which no file has"), "{unknown}");
        assert!(unknown.contains("did you mean `nightly`?"), "{unknown}");
        let event = with("TIDEGATE__EVENT__X__DEADLINE", "1s").expect_err("refused").to_string();
        assert!(event.contains("names event `x`, which no file has"), "{event}");
    }

    #[test]
    fn an_event_that_nobody_hears_is_a_warning() {
        let text = format!("{NIGHTLY}[event.\"purchase.submitted\"]\ndeadline = \"1s\"\n");
        let problems = check(&load_text(&text).unwrap().settings, &Catalog::default());
        let told = problems.to_string();

        assert!(!problems.has_errors(), "{told}");
        assert!(told.contains("2:9") && told.contains("`settlement.due`, published by schedule"), "{told}");
        assert!(told.contains("`purchase.submitted`, which has a table, is heard by nobody"), "{told}");
    }
}
