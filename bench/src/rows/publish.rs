//! P2 and P3: publishing inside of a process, by many and by one.

use super::{Bench, data};
use crate::Outcome;
use crate::children::inside;
use crate::disk::Appended;
use crate::inside::{Latency, Measure, Task};
use crate::stats::{Runs, percent, rate, times};
use crate::table::{Bound, Row};

/// Publishers that wait.
pub(super) const WAITING: usize = 1_024;
/// Events of one batch.
const BATCH: u64 = 128;
/// Batches under way in the line that is not judged.
const BATCHES: usize = 16;
/// Events that JetStream, which syncs for each, is given in place of all.
pub(super) const JETSTREAM: u64 = 20;

/// P2: 1,024 waiting publishers, and batches of 128.
pub(super) fn many(bench: &Bench) -> Outcome<Vec<Row>> {
    let (mut single, mut peer, mut ratio, mut nats) =
        (Runs::default(), Runs::default(), Runs::default(), Runs::default());
    let (mut batches, mut plain, mut share, mut parallel) =
        (Runs::default(), Runs::default(), Runs::default(), Runs::default());
    let events = bench.sizes.events;
    for _ in 0..bench.runs {
        let ours = published(bench, WAITING, 1)?;
        single.push(ours);
        if let Some(redis) = &bench.redis {
            let theirs = redis.publish(events, WAITING)?;
            peer.push(theirs);
            ratio.push(ours / theirs);
        }
        if let Some(jetstream) = &bench.jetstream {
            nats.push(jetstream.publish(events / JETSTREAM, WAITING)?);
        }
        let folder = bench.folder()?;
        let file = Appended::new(folder.path())?.rate(BATCH, bench.sizes.seconds / 5.0)?;
        let batched = published(bench, 1, BATCH)?;
        plain.push(file);
        batches.push(batched);
        share.push(batched / file);
        parallel.push(published(bench, BATCHES, BATCH)?);
    }
    let of_redis = Bound::AtLeast { floor: 1.2, goal: 3.0 };
    let of_file = Bound::AtLeast { floor: 0.25, goal: 0.5 };
    Ok(vec![
        Row::told("P2", "Redis Streams, always, 1,024 in flight", peer.told(rate)),
        Row::told("P2", "JetStream, sync always, 1,024 in flight", nats.told(rate)),
        Row::judged(
            "P2",
            "in-process, 1,024 waiting publishers",
            single.told(rate),
            ratio.told(|value| format!("{} Redis", times(value))),
            (ratio.median(), of_redis),
            times,
        ),
        Row::told("P2", "plain file in groups of 128", plain.told(rate)),
        Row::judged(
            "P2",
            "batches of 128, one after the other",
            batches.told(rate),
            share.told(percent),
            (share.median(), of_file),
            percent,
        ),
        Row::told("P2", "batches of 128, 16 at a time", parallel.told(rate)),
    ])
}

fn published(bench: &Bench, waiting: usize, batch: u64) -> Outcome<f64> {
    let folder = bench.folder()?;
    inside(&Task::new(data(&folder), Measure::Publish { total: bench.sizes.events, waiting, batch }))
}

/// P3: one publication at a time, in units of one append.
pub(super) fn single(bench: &Bench) -> Outcome<Vec<Row>> {
    let total = bench.sizes.single;
    let (mut took, mut units, mut append, mut tail) =
        (Runs::default(), Runs::default(), Runs::default(), Runs::default());
    let (mut redis, mut nats) = (Runs::default(), Runs::default());
    for _ in 0..bench.runs {
        let folder = bench.folder()?;
        let one: Latency = inside(&Task::new(data(&folder), Measure::Latency { total }))?;
        took.push(one.publish);
        tail.push(one.publish_p99);
        append.push(one.append);
        units.push(one.publish / one.append);
        if let Some(peer) = &bench.redis {
            redis.push(peer.latency(total)?);
        }
        if let Some(peer) = &bench.jetstream {
            nats.push(peer.latency(total)?);
        }
    }
    let micros = |value: f64| format!("{value:.0} us");
    let bound = Bound::AtMost { floor: 2.0, goal: 1.4 };
    Ok(vec![
        Row::told("P3", "one append + fdatasync, median", append.told(micros)),
        Row::told("P3", "Redis Streams, always, median", redis.told(micros)),
        Row::told("P3", "JetStream, sync always, median", nats.told(micros)),
        Row::judged(
            "P3",
            "publish, 1 in flight, median",
            took.told(micros),
            units.told(|value| format!("{} append", times(value))),
            (units.median(), bound),
            times,
        ),
        Row::told("P3", "the same, p99", tail.told(micros)),
    ])
}
