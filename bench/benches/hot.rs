//! The hot parts one by one, by the public API: what travels, what is written, what is staged.
//!
//! `cargo bench -p tidegate-bench` measures and compares with the run before; a name behind `--` picks some. These tell
//! where a change has moved something; what a user gets is what `scripts/bench.sh` says.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark that cannot be set up ends with the reason"
)]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use tempfile::TempDir;
use tidegate::clock::Stopwatch;
use tidegate::event::cloudevents::{receive, to_structured};
use tidegate::event::{Digests, Envelope, EventName, Filter, Label, Timestamp};
use tidegate::store::journal::{Journal, JournalSettings};
use tidegate::store::{
    Append, Change, Commit, MemoryStore, Outcome, Receipt, Routed, Settle, StateWrite, Store, StoreSettings,
    SubscriptionId, SubscriptionSpec,
};

/// Bytes of a payload.
const PAYLOAD: usize = 256;
/// Entries of the groups that are synced.
const GROUPS: [usize; 3] = [1, 16, 128];
const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    envelope(&mut criterion);
    digests(&mut criterion);
    journal(&mut criterion);
    memory(&mut criterion);
    criterion.final_summary();
}

/// An event as a publisher's JSON makes it.
fn event(n: u64) -> Envelope {
    let head = format!("{{\"n\":{n},\"pad\":\"");
    let pad = "x".repeat(PAYLOAD - head.len() - 2);
    let label = Label {
        id: format!("event-{n}"),
        source: "/bench".to_owned(),
        name: EventName::new("bench.happened").unwrap(),
        time: NOW,
        key: format!("k{}", n % 10_000),
        flow: format!("flow-{n}"),
        causation: None,
    };
    Envelope::new(label, Bytes::from(format!("{head}{pad}\"}}")))
}

/// An envelope to a structured `CloudEvent`, and back.
fn envelope(criterion: &mut Criterion) {
    let (event, mut group) = (event(1), criterion.benchmark_group("envelope"));
    let body = Bytes::from(to_structured(&event));
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("encode", |bencher| bencher.iter(|| to_structured(black_box(&event))));
    group.bench_function("decode", |bencher| {
        let kind = Some("application/cloudevents+json");
        bencher.iter(|| receive(kind, [], black_box(&body), 1).unwrap());
    });
    group.finish();
}

/// What tells a repeat from another body.
fn digests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("digests");
    for size in [PAYLOAD, 64 << 10] {
        let event = Envelope { data: Bytes::from(vec![b'x'; size]), ..event(1) };
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_with_input(BenchmarkId::from_parameter(size), &event, |bencher, event| {
            bencher.iter(|| Digests::of(black_box(event)));
        });
    }
    group.finish();
}

/// Groups that are appended and synced, in memory and on the disk of the target folder.
fn journal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("journal");
    for (place, parent) in
        [("memory", Path::new("/dev/shm")), ("disk", Path::new(env!("CARGO_TARGET_TMPDIR")))]
    {
        if !parent.is_dir() {
            continue;
        }
        for entries in GROUPS {
            let folder = TempDir::new_in(parent).unwrap();
            let settings = JournalSettings::new(folder.path());
            let mut journal = Journal::open(settings, &mut |_| Ok(()), Commit(0)).unwrap();
            let payloads = vec![[b'x'; PAYLOAD]; entries];
            group.throughput(Throughput::Elements(entries as u64));
            group.bench_function(BenchmarkId::new(place, entries), |bencher| {
                bencher.iter_custom(|rounds| {
                    let took = appended(&mut journal, &payloads, rounds);
                    // It would fill the disk, or the memory, in some minutes.
                    journal.remove_before(journal.last_commit()).unwrap();
                    took
                });
            });
        }
    }
    group.finish();
}

fn appended(journal: &mut Journal, payloads: &[[u8; PAYLOAD]], rounds: u64) -> Duration {
    let begin = Stopwatch::start();
    for _ in 0..rounds {
        journal.append(black_box(payloads)).unwrap();
        journal.sync().unwrap();
    }
    begin.elapsed()
}

/// What one change costs the committer in the engine without a disk. Each sample has a store of its own.
fn memory(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stage");
    group.throughput(Throughput::Elements(1));
    group.bench_function("publish", |bencher| {
        bencher.iter_custom(|rounds| {
            let (mut store, subscription) = subscribed();
            let changes: Vec<Change> = (0..rounds).map(|n| publication(n, subscription)).collect();
            staged(&mut store, changes).0
        });
    });
    group.bench_function("settle", |bencher| {
        bencher.iter_custom(|rounds| {
            let (mut store, subscription) = subscribed();
            let changes = (0..rounds).map(|n| publication(n, subscription)).collect();
            let queued = staged(&mut store, changes).1;
            staged(&mut store, queued.iter().map(settled).collect()).0
        });
    });
    group.finish();
}

fn subscribed() -> (MemoryStore, SubscriptionId) {
    let mut store = MemoryStore::new(&StoreSettings::default()).unwrap();
    let spec = SubscriptionSpec {
        name: "bench".to_owned(),
        step: "bench".to_owned(),
        on: vec!["bench.happened".to_owned()],
        since: None,
        filter: Filter::default(),
    };
    let receipts = store.stage(NOW, &mut vec![Change::Subscribe(spec)]).unwrap();
    match receipts.as_slice() {
        [Receipt::Subscribed(subscription)] => (store, *subscription),
        other => panic!("not subscribed: {other:?}"),
    }
}

fn publication(n: u64, subscription: SubscriptionId) -> Change {
    Change::Publish(vec![Routed::new(Arc::new(event(n)), vec![subscription])])
}

/// A delivery that is done, with a new state of its key.
fn settled(queued: &Append) -> Change {
    let (subscription, ordinal) = queued.places.first().copied().unwrap();
    Change::Settle(Settle {
        subscription,
        ordinal,
        seq: queued.seq,
        key: queued.event.key.as_str().into(),
        outcome: Outcome::Done,
        state: Some(StateWrite { value: Bytes::from_static(b"{\"count\":7}") }),
        emits: Vec::new(),
        result: None,
        undos: Vec::new(),
        pivot: false,
        keep_states: false,
        waited_ms: 1,
        ran_ms: 1,
        counted: true,
    })
}

/// Stages them one by one, each with its sync as the committer has it; says how long that took and what it appended.
fn staged(store: &mut MemoryStore, changes: Vec<Change>) -> (Duration, Vec<Append>) {
    let mut queued = Vec::new();
    let begin = Stopwatch::start();
    for change in changes {
        for receipt in store.stage(NOW, &mut vec![change]).unwrap() {
            match receipt {
                Receipt::Published { appended, .. } | Receipt::Applied { appended, .. } => {
                    queued.extend(appended);
                }
                other => panic!("not applied: {other:?}"),
            }
        }
        store.sync().unwrap();
    }
    (begin.elapsed(), queued)
}
