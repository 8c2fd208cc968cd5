//! Measures searches and what the index costs, on a million events; run it by hand:
//! `cargo test --release --lib store::sled::measure -- --ignored --nocapture`.
#![expect(
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "it tells a person what it measured"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::SledStore;
use crate::event::{EventName, Filter, Timestamp};
use crate::store::conformance::{dead, envelope, settle};
use crate::store::{
    Change, EventQuery, FlowQuery, Outcome, Reader, Receipt, Routed, Seq, Standing, Store, StoreSettings,
    SubscriptionId, SubscriptionSpec,
};

const EVENTS: u64 = 1_000_000;
const GROUP: u64 = 500;
const KEYS: u64 = 100_000;
const NAMES: u64 = 12;
/// Flows under way at a time, of eight events each.
const FLOWS: u64 = 1_000;
const START: Timestamp = Timestamp(1_800_000_000_000);
const RUNS: u64 = 300;

/// The `n`-th event: flow, place in it.
const fn place(n: u64) -> (u64, u64) {
    (n / (FLOWS * 8) * FLOWS + n % FLOWS, n / FLOWS % 8)
}

fn key(flow: u64) -> String {
    format!("account-{}", flow.wrapping_mul(2_654_435_761) % KEYS)
}

fn name(flow: u64, step: u64) -> String {
    format!("order.step_{}", (flow % 5 + step) % NAMES)
}

fn event(n: u64, id: SubscriptionId) -> Routed {
    let (flow, step) = place(n);
    let mut event = envelope("e");
    event.id = format!("order-{flow}-{step}");
    event.name = EventName::new(&name(flow, step)).unwrap();
    event.key = key(flow);
    event.flow = format!("flow-{flow:032}");
    Routed::new(Arc::new(event), if step == 0 { vec![id] } else { Vec::new() })
}

fn time(what: &str, mut run: impl FnMut(u64) -> usize) {
    let (mut times, mut items) = (Vec::new(), 0);
    for n in 0..RUNS {
        let start = Instant::now();
        items += run(n);
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let at = |part: usize| times[times.len() * part / 100].as_secs_f64() * 1_000.0;
    let (p50, p99, max) = (at(50), at(99), times[times.len() - 1].as_secs_f64() * 1_000.0);
    let mean = items as f64 / RUNS as f64;
    eprintln!("{what:44} p50 {p50:8.3} ms  p99 {p99:8.3} ms  max {max:8.3} ms  {mean:6.1} items");
}

/// What the bus reads beside a flow to tell its status.
fn look_into(reader: &dyn Reader, flow: &str) {
    let record = reader.flow(flow).unwrap().unwrap();
    for seq in record.events {
        reader.event(seq).unwrap();
    }
    reader.flow(flow).unwrap();
}

fn fill(store: &mut SledStore, id: SubscriptionId) -> Duration {
    let mut spent = Duration::ZERO;
    let mut ordinal = 0;
    for first in (0..EVENTS).step_by(usize::try_from(GROUP).unwrap()) {
        let now = START.plus_millis(first);
        let mut changes = vec![Change::Publish((first..first + GROUP).map(|n| event(n, id)).collect())];
        for n in (first..first + GROUP).filter(|n| place(*n).1 == 0) {
            ordinal += 1;
            let outcome = match place(n).0 % 200 {
                0 => dead(false),
                1 => continue,
                _ => Outcome::Done,
            };
            changes.push(Change::Settle(settle(id, ordinal, Seq(n + 1), outcome)));
        }
        let start = Instant::now();
        store.stage(now, &mut changes).unwrap();
        spent += start.elapsed();
        store.sync().unwrap();
        store.maintain(now).unwrap();
    }
    spent
}

#[test]
#[ignore = "takes minutes; it measures and promises nothing"]
fn searches_of_a_million_events() {
    let dir = tempfile::tempdir().unwrap();
    let settings = StoreSettings { path: dir.path().to_owned(), ..StoreSettings::default() };
    let mut store = SledStore::open(settings.clone(), START).unwrap();
    let spec = SubscriptionSpec {
        name: "a".into(),
        step: "a".into(),
        on: vec![">".into()],
        since: None,
        filter: Filter::default(),
    };
    let receipt = store.stage(START, &mut vec![Change::Subscribe(spec)]).unwrap().remove(0);
    let Receipt::Subscribed(id) = receipt else { panic!("{receipt:?}") };

    let start = Instant::now();
    let staged = fill(&mut store, id);
    let all = start.elapsed();
    Box::new(store).close().unwrap();
    let closed = start.elapsed();
    eprintln!(
        "stored in {all:.1?}, closed after {closed:.1?}; staging {} ns an event",
        staged.as_nanos() / u128::from(EVENTS)
    );
    let sled = std::fs::metadata(dir.path().join("sled/db")).unwrap().len();
    eprintln!("sled takes {} MiB", sled >> 20);

    let start = Instant::now();
    let store = SledStore::open(settings, START).unwrap();
    eprintln!("opened in {:.1?}", start.elapsed());
    let start = Instant::now();
    let rows: u64 = store.base.now().unwrap().count().unwrap().values().sum();
    eprintln!("{rows} rows counted in {:.1?}", start.elapsed());
    // By the first byte of their keys: lists of events c0, open flows c1, flows with dead letters c2.
    eprintln!("rows of the tables: {:x?}", store.stamp.as_ref().map(|stamp| &stamp.counts));
    let reader = store.reader();
    searches(&*reader);
}

fn searches(reader: &dyn Reader) {
    let events =
        |query: &EventQuery, before: Option<Seq>| reader.find_events(query, before, 50).unwrap().items.len();
    let flows =
        |query: &FlowQuery, before: Option<Seq>| reader.find_flows(query, before, 50).unwrap().items.len();
    let by = EventQuery::default;
    let random = |run: u64| run.wrapping_mul(7_919_003).wrapping_add(13) % EVENTS;
    let anywhere = |run: u64| Some(Seq(random(run) + 1));
    let at = |run: u64| Some(START.plus_millis(random(run)));
    let flow = |run: u64| place(random(run)).0;
    let one_key = |run| Some(key(flow(run)));
    let one_name = |run| Some(name(flow(run), run % 8));

    time("events, the newest", |_| events(&by(), None));
    time("events, from anywhere", |run| events(&by(), anywhere(run)));
    time("events by key", |run| events(&EventQuery { key: one_key(run), ..by() }, None));
    time("events by name", |run| events(&EventQuery { name: one_name(run), ..by() }, None));
    time("events by name, from anywhere", |run| {
        events(&EventQuery { name: one_name(run), ..by() }, anywhere(run))
    });
    time("events by name and key", |run| {
        events(&EventQuery { name: one_name(run), key: one_key(run), ..by() }, None)
    });
    time("events by flow", |run| {
        events(&EventQuery { flow: Some(format!("flow-{:032}", flow(run))), ..by() }, None)
    });
    time("events by time", |run| events(&EventQuery { until: at(run), ..by() }, None));
    time("events by name and time", |run| {
        events(&EventQuery { name: one_name(run), until: at(run), ..by() }, None)
    });
    let vain = EventQuery { name: one_name(3), key: Some(String::new()), ..by() };
    time("events by name, in vain (the whole budget)", |run| events(&vain, anywhere(run)));

    let by = FlowQuery::default;
    time("flows, the newest", |_| flows(&by(), None));
    time("flows, from anywhere", |run| flows(&by(), anywhere(run)));
    time("flows by key", |run| flows(&FlowQuery { key: one_key(run), ..by() }, None));
    time("flows by name", |run| flows(&FlowQuery { name: one_name(run), ..by() }, None));
    time("flows by time", |run| flows(&FlowQuery { until: at(run), ..by() }, None));
    for standing in [Standing::Open, Standing::Dead, Standing::Rest] {
        let query = FlowQuery { standing: Some(standing), ..by() };
        time(&format!("flows {standing:?}, the newest"), |_| flows(&query, None));
        time(&format!("flows {standing:?}, from anywhere"), |run| flows(&query, anywhere(run)));
        time(&format!("flows {standing:?}, with what the status takes"), |run| {
            let found = reader.find_flows(&query, anywhere(run), 50).unwrap().items;
            for found in &found {
                look_into(reader, &found.flow);
            }
            found.len()
        });
    }
    let query = |run| FlowQuery { standing: Some(Standing::Dead), name: one_name(run), ..by() };
    time("flows Dead by name", |run| flows(&query(run), None));
}
