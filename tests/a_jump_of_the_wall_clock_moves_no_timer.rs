//! Promise: whoever sets the machine's clock while the bus runs, by an hour or a day, forwards or back, moves no timer
//! and no id. A start reads the clock anew; what is stored with a time waits for the clock to say it, and nothing is
//! forgotten before its time.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a promise ends where it is broken"
)]

mod kit;

use std::io;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use kit::{job, wired, work};
use tidegate::bus::view::{DeliveryStatus, FlowStatus};
use tidegate::config;
use tidegate::event::{Draft, EventName, Filter, Timestamp};
use tidegate::prelude::*;
use tidegate::store::{Change, MemoryStore, Store as _, StoreSettings, SubscriptionSpec};
use tidegate::testing::Harness;

const HOUR: i64 = 3_600_000;
const JUMPS: [i64; 4] = [HOUR, -HOUR, 24 * HOUR, -24 * HOUR];
const RETRY: &str = "retry = { backoff = { first = \"10s\", factor = 2.0, jitter = 0.0 } }";
const DEADLINE: &str = "[event.\"job.given\"]\ndeadline = \"1m\"\n";

/// Sets the machine's clock; no time passes.
fn jump(h: &Harness, by: i64) {
    let wall = Timestamp(h.clock().now().0.saturating_add_signed(by));
    h.clock().set_wall(wall);
}

/// What is logged in this process.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// All that is logged from the first call on, by every test: each looks for figures of its own.
    fn of_this_process() -> Self {
        static LINES: OnceLock<Lines> = OnceLock::new();
        let lines = LINES.get_or_init(|| {
            let lines = Self::default();
            let writer = lines.clone();
            let plain =
                tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
            tracing::subscriber::set_global_default(plain).unwrap();
            lines
        });
        lines.clone()
    }

    fn with(&self, text: &str) -> Vec<String> {
        let all = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        all.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_retry_comes_after_as_long_as_it_was_meant_to() {
    for by in JUMPS {
        let (steps, log) =
            work(|_, cx| if cx.attempt() < 3 { Err(StepError::retry("again")) } else { Ok(()) });
        let mut h = Harness::new(steps, &wired(RETRY));
        let start = h.clock().now().0;
        h.publish("job.given", job(1, "a"));
        h.run_until_idle();

        jump(&h, by);
        h.advance(Duration::from_millis(9_999));
        assert_eq!(log.all().len(), 1, "too early after a jump of {by} ms");
        h.advance(Duration::from_mins(1));

        let times: Vec<u64> = log.all().iter().map(|call| call.at - start).collect();
        assert_eq!(times, [0, 10_000, 30_000], "after a jump of {by} ms");
    }
}

#[test]
fn a_delayed_event_comes_after_as_long_as_it_was_meant_to() {
    for by in JUMPS {
        let (steps, log) = work(|_, _| Ok(()));
        let mut h = Harness::new(steps, &wired(""));
        let mut draft = Draft::json(EventName::new("job.given").unwrap(), "{\"n\":1}".into());
        draft.due = Some(h.clock().now().plus(Duration::from_secs(100)));
        h.publish_draft(draft);
        h.run_until_idle();

        jump(&h, by);
        h.advance(Duration::from_millis(99_999));
        assert_eq!(log.count(1), 0, "too early after a jump of {by} ms");
        h.advance(Duration::from_millis(1));

        assert_eq!(log.count(1), 1, "too late after a jump of {by} ms");
    }
}

#[test]
fn a_deadline_is_marked_when_it_was_meant_to_be() {
    for by in JUMPS {
        let (steps, _) = work(|_, _| Err(StepError::retry("the bank is away")));
        let mut h = Harness::new(steps, &(wired(RETRY) + DEADLINE));
        let flow = h.publish("job.given", job(1, "a")).flow.clone();
        h.run_until_idle();

        jump(&h, by);
        h.advance(Duration::from_millis(59_999));
        assert!(!h.flow(&flow).overdue, "too early after a jump of {by} ms");
        h.advance(Duration::from_millis(1));

        assert!(h.flow(&flow).overdue, "too late after a jump of {by} ms");
    }
}

#[test]
fn ids_and_times_stay_in_order_through_jumps_and_starts() {
    let (steps, _) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));
    let (mut last, mut time) = (String::new(), Timestamp(0));
    for (turn, by) in JUMPS.into_iter().cycle().take(12).enumerate() {
        let id = h.publish("job.given", job(1, "a")).id.clone();
        assert!(last < id, "{last} before {id}");
        let event = h.events("job.given").pop().unwrap();
        assert!(time <= event.time, "{time} before {}", event.time);

        jump(&h, by);
        (last, time) = (id, event.time);
        if turn % 3 == 2 {
            h.restart();
            // The new process begins with what the machine's clock says.
            time = Timestamp(0);
        }
    }
}

#[test]
fn what_is_told_of_the_clock_says_how_far_they_are_apart() {
    for (by, line) in
        [(-HOUR, "tidegate_clock_ahead_seconds 3600\n"), (HOUR, "tidegate_clock_ahead_seconds -3600\n")]
    {
        let (steps, _) = work(|_, _| Ok(()));
        let mut h = Harness::new(steps, &wired(""));

        jump(&h, by);

        let text = h.take_running().metrics()();
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn after_a_start_with_the_clock_set_back_what_is_stored_waits_for_it_and_nothing_is_lost() {
    let (steps, log) =
        work(|job, cx| if job.n == 1 && cx.attempt() < 2 { Err(StepError::retry("again")) } else { Ok(()) });
    let mut h = Harness::new(steps, &wired(RETRY));
    let start = h.clock().now().0;
    h.publish_as("retried", "job.given", job(1, "a"));
    h.run_until_idle();
    h.pause("work", true);
    h.publish_as("waiting", "job.given", job(2, "b"));
    h.run_until_idle();

    jump(&h, -HOUR);
    h.restart();
    h.pause("work", false);
    h.run_until_idle();

    assert_eq!(log.count(2), 1, "what waits for no time runs at once");
    h.advance(Duration::from_secs(3_609));
    assert_eq!(log.count(1), 1, "a stored time is that of the machine's clock");
    h.advance(Duration::from_secs(1));
    assert_eq!(log.count(1), 2);
    assert_eq!(log.all().last().unwrap().at - start, 10_000);
    assert_eq!(h.status("/http", "retried").status, FlowStatus::Done);
}

#[test]
fn a_clock_set_back_forgets_no_id_and_no_status_before_its_time() {
    let wiring = wired("") + "[http]\nstatus_ttl = \"1h\"\ndedupe_window = \"1h\"\n";
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wiring);
    h.publish_as("e1", "job.given", job(1, "a"));
    h.run_until_idle();

    jump(&h, -24 * HOUR);
    h.restart();
    h.advance(Duration::from_mins(59));

    assert_eq!(h.status("/http", "e1").status, FlowStatus::Done);
    assert!(h.publish_as("e1", "job.given", job(1, "a")).replayed, "it is known");
    assert_eq!(log.count(1), 1);
    let flow = h.status("/http", "e1").flow;
    assert_eq!(h.flow(&flow).events[0].deliveries[0].state, DeliveryStatus::Done);
}

#[test]
fn a_clock_that_was_set_is_logged_once_with_its_side_and_how_far() {
    let lines = Lines::of_this_process();
    for (by, side) in [(7 * HOUR, "stands ahead of the bus"), (-5 * HOUR, "stands behind the bus")] {
        let (steps, _) = work(|_, _| Ok(()));
        let mut h = Harness::new(steps, &wired(""));
        jump(&h, by);

        h.advance(Duration::from_secs(1));
        h.advance(Duration::from_secs(1));

        let told = lines.with(&format!("apart_ms={}", by.abs()));
        assert!(matches!(&told[..], [line] if line.contains(side)), "set by {by} ms: {told:?}");
    }
}

#[test]
fn a_start_with_the_clock_before_what_is_stored_is_logged_and_one_with_it_behind_is_not() {
    let lines = Lines::of_this_process();
    for (by, logged) in [(-9 * HOUR, 1), (11 * HOUR, 0)] {
        let (steps, _) = work(|_, _| Ok(()));
        let mut h = Harness::new(steps, &wired(""));
        h.publish("job.given", job(1, "a"));
        h.run_until_idle();

        jump(&h, by);
        h.restart();

        let told = lines.with(&format!("behind_ms={}", by.abs()));
        assert_eq!(told.len(), logged, "set by {by} ms: {told:?}");
    }
}

#[test]
fn ids_that_a_start_draws_follow_what_is_stored_though_the_clock_stands_before_it() {
    // Later than anything else in this process, which draws in order by itself.
    let stored = Timestamp(5_000_000_000_000);
    let mut store = MemoryStore::new(&StoreSettings::default()).unwrap();
    let (name, step, on) = ("old".to_owned(), "work".to_owned(), vec!["job.given".to_owned()]);
    let spec = SubscriptionSpec { name, step, on, since: None, filter: Filter::default() };
    store.stage(stored, &mut vec![Change::Subscribe(spec)]).unwrap();
    store.sync().unwrap();
    let (steps, _) = work(|_, _| Ok(()));
    let settings = config::load_text(&wired("")).unwrap().settings;

    let mut h = Harness::on_store(steps, settings, Box::new(store));

    assert!(h.clock().now() < stored);
    let id = h.publish("job.given", job(1, "a")).id.replace('-', "");
    let floor = format!("{:012x}", stored.0 + 1);
    assert!(id >= floor, "{id} is before {floor}");
}
