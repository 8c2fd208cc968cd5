//! Promise: a schedule fires once for each of its times, whatever the process dies of and however its clock
//! jumps. Times that nobody was there for are told, and made up for once or not at all, as the config says.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a promise ends where it is broken"
)]

mod kit;

use std::time::Duration;

use kit::{Log, wired, work};
use serde_json::json;
use tidegate::bus::view::ScheduleView;
use tidegate::testing::{CrashPoint, Harness};

const HOUR: Duration = Duration::from_hours(1);
/// The harness starts at 08:00 UTC on 31 March 2026.
const HOURLY: &str = "event = \"job.given\"\ncron = \"0 * * * *\"\ndata = { n = 1, key = \"a\" }\n";

fn with(schedule: &str) -> (Harness, Log) {
    let (steps, log) = work(|_, _| Ok(()));
    (Harness::new(steps, &wiring(schedule)), log)
}

fn wiring(schedule: &str) -> String {
    format!("{}[schedule.s]\n{schedule}", wired(""))
}

/// The times that were fired for, as hour and minute.
fn fired(h: &Harness) -> Vec<String> {
    let events = h.events("job.given");
    events.iter().map(|event| event.time.to_string()[8..16].to_owned()).collect()
}

fn shown(h: &Harness) -> ScheduleView {
    h.wait_for(h.bus().schedules()).unwrap().remove(0)
}

#[test]
fn each_time_fires_once_with_its_own_id_and_a_flow_of_its_own() {
    let (mut h, log) = with(HOURLY);
    assert_eq!((shown(&h).last, shown(&h).next.as_deref()), (None, Some("2026-03-31T09:00:00.000Z")));

    h.advance(3 * HOUR);

    assert_eq!(fired(&h), ["31T09:00", "31T10:00", "31T11:00"]);
    assert_eq!(log.all().len(), 3);
    let events = h.events("job.given");
    assert_eq!((&*events[0].source, &*events[0].key), ("/tidegate/schedule/s", "a"));
    assert_eq!(events[0].id, "s@2026-03-31T09:00:00.000Z");
    assert_ne!(events[0].flow, events[1].flow);
    let view = shown(&h);
    assert_eq!(
        (view.last.as_deref(), view.next.as_deref()),
        (Some("2026-03-31T11:00:00.000Z"), Some("2026-03-31T12:00:00.000Z"))
    );
    assert_eq!((&*view.cron, &*view.zone, &*view.missed), ("0 * * * *", "UTC", "once"));
    h.assert_not_emitted("tidegate.schedule.missed");
}

#[test]
fn without_data_the_payload_says_what_is_due_and_the_zone_says_when() {
    let schedule = "event = \"report.due\"\ncron = \"30 9 * * *\"\nzone = \"Asia/Kathmandu\"\nkey = \"k\"\n";
    let (mut h, _) = with(schedule);

    h.advance(24 * HOUR);

    let due = "2026-04-01T03:45:00.000Z";
    assert_eq!(h.assert_emitted("report.due"), json!({ "schedule": "s", "due": due }));
    let event = &h.events("report.due")[0];
    assert_eq!((event.time.to_string().as_str(), &*event.key), (due, "k"));
}

/// The two ends of the commit that fires: what was not stored fires again, what was stored does not.
#[test]
fn a_crash_around_a_firing_makes_neither_none_nor_two_of_it() {
    for point in [CrashPoint::BeforePublish, CrashPoint::AfterPublish] {
        let (mut h, log) = with(HOURLY);
        h.run_until_idle();
        h.crash_at(point.clone());
        h.clock().advance(HOUR);
        h.restart();
        // The plan outlives the restart: the first thing that the new process does is to fire.
        h.run_until_idle();
        assert!(h.has_crashed(), "{point:?}");

        h.restart();
        h.run_until_idle();

        assert_eq!((fired(&h), log.all().len()), (vec!["31T09:00".to_owned()], 1), "{point:?}");
        h.restart();
        h.advance(HOUR);
        assert_eq!(fired(&h), ["31T09:00", "31T10:00"], "{point:?}");
    }
}

#[test]
fn what_was_missed_while_down_is_made_up_for_once_and_told() {
    let (mut h, _) = with(HOURLY);
    h.advance(HOUR);
    let running = h.take_running();
    running.shut_down(Duration::from_secs(1)).unwrap();
    h.clock().advance(5 * HOUR + Duration::from_mins(30));

    h.restart();
    h.run_until_idle();

    assert_eq!(fired(&h), ["31T09:00", "31T14:00"], "the latest only");
    let told = h.emitted::<serde_json::Value>("tidegate.schedule.missed");
    assert_eq!(told.len(), 1);
    assert_eq!(
        (&told[0]["schedule"], &told[0]["missed"], &told[0]["fired"]),
        (&json!("s"), &json!(5), &json!(true))
    );
    h.restart();
    h.advance(HOUR);
    assert_eq!(fired(&h), ["31T09:00", "31T14:00", "31T15:00"]);
    assert_eq!(h.events("tidegate.schedule.missed").len(), 1);
    assert_eq!(h.metric("tidegate_schedule_times_total{schedule=\"s\",outcome=\"fired\"}"), Some(1.0));
}

#[test]
fn what_was_missed_is_left_out_when_the_schedule_says_so_and_told_all_the_same() {
    let (mut h, _) = with(&format!("{HOURLY}missed = \"skip\"\n"));
    h.run_until_idle();
    h.clock().advance(3 * HOUR + Duration::from_mins(2));

    h.restart();
    h.run_until_idle();

    assert_eq!(fired(&h), [""; 0]);
    let told = h.assert_emitted("tidegate.schedule.missed");
    assert_eq!((&told["missed"], &told["fired"]), (&json!(3), &json!(false)));
    assert_eq!(shown(&h).last, None);
    h.advance(HOUR);
    assert_eq!(fired(&h), ["31T12:00"]);
}

/// A clock that is put forward by a day while the bus runs is a day that nobody was there for.
#[test]
fn a_clock_that_jumps_forward_fires_once_and_tells() {
    let (mut h, _) = with(HOURLY);
    h.advance(HOUR);

    h.clock().advance(24 * HOUR + Duration::from_mins(30));
    h.advance(Duration::ZERO);

    assert_eq!(fired(&h), ["31T09:00", "01T09:00"]);
    assert_eq!(h.assert_emitted("tidegate.schedule.missed")["missed"], 24);
}

/// A clock that was put back before a restart lives through the same times twice; they fire once.
#[test]
fn a_clock_that_jumps_back_fires_no_time_twice() {
    let (steps, _) = work(|_, _| Ok(()));
    let dir = tempfile::tempdir().unwrap();
    let settings = tidegate::config::load_text(&wiring(HOURLY)).unwrap().settings;
    let open = |start| {
        let store = tidegate::store::StoreSettings {
            path: dir.path().to_owned(),
            cache_bytes: 8 << 20,
            ..Default::default()
        };
        Box::new(tidegate::store::SledStore::open(store, start).unwrap())
    };
    let start = tidegate::event::Timestamp(1_774_944_000_000);
    let mut h = Harness::on_store(steps, settings.clone(), open(start));
    h.advance(4 * HOUR);
    assert_eq!(fired(&h), ["31T09:00", "31T10:00", "31T11:00", "31T12:00"]);
    h.shut_down();
    drop(h);

    // A new harness starts at 08:00 again, on the store of one that was at 12:00.
    let (steps, _) = work(|_, _| Ok(()));
    let mut h = Harness::on_store(steps, settings, open(start));
    assert_eq!(shown(&h).next.as_deref(), Some("2026-03-31T13:00:00.000Z"));
    h.advance(4 * HOUR + Duration::from_mins(59));
    assert_eq!(fired(&h).len(), 4);
    h.advance(Duration::from_mins(1));

    assert_eq!(fired(&h).last().unwrap(), "31T13:00");
    assert_eq!(fired(&h).len(), 5);
    h.assert_not_emitted("tidegate.schedule.missed");
}

#[test]
fn another_expression_begins_anew_and_a_schedule_that_is_gone_owes_nothing() {
    let (mut h, _) = with(HOURLY);
    h.advance(HOUR);
    let (steps, _) = work(|_, _| Ok(()));
    h.clock().advance(10 * HOUR);
    h.rewire(steps, &wiring(&HOURLY.replace("0 * * * *", "30 * * * *")));
    h.run_until_idle();
    assert_eq!(fired(&h), ["31T09:00"], "times that it did not have then are not missed");
    assert_eq!(shown(&h).last.as_deref(), Some("2026-03-31T09:00:00.000Z"));
    h.advance(HOUR);
    assert_eq!(fired(&h), ["31T09:00", "31T19:30"]);

    let (steps, _) = work(|_, _| Ok(()));
    h.rewire(steps, &wired(""));
    h.advance(24 * HOUR);
    let (steps, _) = work(|_, _| Ok(()));
    h.rewire(steps, &wiring(HOURLY));
    h.run_until_idle();

    assert_eq!(fired(&h).len(), 2);
    h.assert_not_emitted("tidegate.schedule.missed");
}

#[test]
fn others_can_be_put_in_place_while_the_bus_runs() {
    let (mut h, _) = with(HOURLY);
    h.advance(HOUR);
    let table = |cron: &str| {
        tidegate::cron::TimeTable::new(
            tidegate::cron::Cron::parse(cron).unwrap(),
            tidegate::cron::Zone::utc(),
        )
    };
    let schedule = |name: &str, cron: &str| tidegate::bus::Schedule {
        name: name.to_owned(),
        event: tidegate::event::EventName::new("job.given").unwrap(),
        table: table(cron),
        missed: tidegate::bus::Missed::Once,
        data: None,
        key: None,
    };

    h.bus().set_schedules(vec![schedule("s", "0 * * * *"), schedule("t", "15 * * * *")]);
    h.run_until_idle();
    h.advance(HOUR);

    assert_eq!(fired(&h), ["31T09:00", "31T09:15", "31T10:00"]);
    h.bus().set_schedules(Vec::new());
    h.run_until_idle();
    h.advance(24 * HOUR);
    assert_eq!(fired(&h).len(), 3);
    assert!(h.wait_for(h.bus().schedules()).unwrap().is_empty());
}

#[test]
fn many_schedules_need_no_more_than_one_timer_and_keep_their_times() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut text = wired("");
    for n in 0..60 {
        let (name, cron) = (format!("[schedule.s{n}]"), format!("cron = \"{n} * * * *\""));
        let data = format!("data = {{ n = {n} }}\n");
        text.push_str(&[&*name, "event = \"job.given\"", &cron, &data].join("\n"));
    }
    let mut h = Harness::new(steps, &text);
    let start = h.clock().now().0;

    h.advance(HOUR);

    let late: Vec<_> =
        log.all().iter().filter(|call| (call.at - start) / 60_000 % 60 != call.n).cloned().collect();
    assert_eq!((log.all().len(), late.len()), (60, 0), "{late:?}");
}
