//! P4 and P5: the chain of five hops, saturated and at an even pace.

use super::publish::{JETSTREAM, WAITING};
use super::{Bench, data};
use crate::Outcome;
use crate::children::inside;
use crate::inside::{Measure, Paced, Task};
use crate::stats::{Runs, millis, rate, times};
use crate::table::{Bound, Row};

/// Flows a second of the even pace.
const PACE: f64 = 100.0;
/// What the goal of P5 allows a chain of pure steps above one sync, in milliseconds.
const ABOVE_SYNC: f64 = 0.7;

/// P4: flows a second with 1,024 under way, beside Redis Streams doing the same.
pub(super) fn saturated(bench: &Bench) -> Outcome<Vec<Row>> {
    let (mut kept, mut pure, mut peer) = (Runs::default(), Runs::default(), Runs::default());
    let (mut kept_ratio, mut pure_ratio, mut nats) = (Runs::default(), Runs::default(), Runs::default());
    for _ in 0..bench.runs {
        let ours = flows(bench, false)?;
        let ahead = flows(bench, true)?;
        kept.push(ours);
        pure.push(ahead);
        if let Some(redis) = &bench.redis {
            let theirs = redis.chain(bench.sizes.flows, WAITING)?;
            peer.push(theirs);
            kept_ratio.push(ours / theirs);
            pure_ratio.push(ahead / theirs);
        }
        if let Some(jetstream) = &bench.jetstream {
            nats.push(jetstream.chain(bench.sizes.flows / JETSTREAM, WAITING)?);
        }
    }
    let bound = Bound::AtLeast { floor: 1.0, goal: 2.0 };
    let line = |what: &str, measured: &Runs, ratio: &Runs| {
        let share = ratio.told(|value| format!("{} Redis", times(value)));
        Row::judged("P4", what, measured.told(rate), share, (ratio.median(), bound), times)
    };
    Ok(vec![
        Row::told("P4", "Redis Streams, always, flows of the same chain", peer.told(rate)),
        Row::told("P4", "JetStream, sync always, flows of the same chain", nats.told(rate)),
        line("chain of 5, flows, 1,024 under way", &kept, &kept_ratio),
        line("the same, steps wired pure", &pure, &pure_ratio),
    ])
}

fn flows(bench: &Bench, pure: bool) -> Outcome<f64> {
    let folder = bench.folder()?;
    let measure = Measure::Chain { flows: bench.sizes.flows, window: WAITING };
    inside(&Task { data: data(&folder), pure, measure })
}

/// P5: a flow from end to end at 100 a second.
pub(super) fn paced(bench: &Bench) -> Outcome<Vec<Row>> {
    let (mut kept, mut pure) = (Ends::default(), Ends::default());
    let (mut redis, mut redis_p99) = (Runs::default(), Runs::default());
    let (mut nats, mut nats_p99) = (Runs::default(), Runs::default());
    for _ in 0..bench.runs {
        kept.push(flow(bench, false)?);
        pure.push(flow(bench, true)?);
        if let Some(peer) = &bench.redis {
            let (median, p99) = peer.paced(PACE, bench.sizes.paced)?;
            redis.push(median);
            redis_p99.push(p99);
        }
        if let Some(peer) = &bench.jetstream {
            let (median, p99) = peer.paced(PACE, bench.sizes.paced)?;
            nats.push(median);
            nats_p99.push(p99);
        }
    }
    let goal = pure.append.median() + ABOVE_SYNC;
    Ok(vec![
        Row::told("P5", "one append + fdatasync, median", pure.append.told(millis)),
        Row::told("P5", "Redis Streams, always, median", redis.told(millis)),
        Row::told("P5", "Redis Streams, always, p99", redis_p99.told(millis)),
        Row::told("P5", "JetStream, sync always, median", nats.told(millis)),
        Row::told("P5", "JetStream, sync always, p99", nats_p99.told(millis)),
        kept.row("chain of 5 at 100 flows/s, median", 2.0),
        Row::told("P5", "the same, p99", kept.p99.told(millis)),
        pure.row("the same, steps wired pure, median", goal),
        Row::told("P5", "the same, p99", pure.p99.told(millis)),
    ])
}

fn flow(bench: &Bench, pure: bool) -> Outcome<Paced> {
    let folder = bench.folder()?;
    let measure = Measure::Paced { pace: PACE, flows: bench.sizes.paced };
    inside(&Task { data: data(&folder), pure, measure })
}

#[derive(Default)]
struct Ends {
    median: Runs,
    p99: Runs,
    append: Runs,
    syncs: Runs,
}

impl Ends {
    fn push(&mut self, paced: Paced) {
        self.median.push(paced.median);
        self.p99.push(paced.p99);
        self.append.push(paced.append);
        self.syncs.push(paced.median / paced.append);
    }

    fn row(&self, what: &str, goal: f64) -> Row {
        let share = self.syncs.told(|value| format!("{} append", times(value)));
        let bound = Bound::AtMost { floor: 2.5, goal };
        Row::judged("P5", what, self.median.told(millis), share, (self.median.median(), bound), millis)
    }
}
