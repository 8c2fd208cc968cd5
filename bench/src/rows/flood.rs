//! P6 to P8, P10 and P11: fan-out, a backlog over its whole life, failures among others, and what an event costs.

use tidegate::clock::Stopwatch;

use super::publish::{JETSTREAM, WAITING};
use super::{Bench, data};
use crate::Outcome;
use crate::app::PAYLOAD;
use crate::children::{inside, inside_and_hold, serve};
use crate::http::ready;
use crate::inside::{Counted, Drained, Filled, Measure, Task};
use crate::stats::{Runs, mebibytes, percent, rate, times};
use crate::table::{self, Bound, Row};

/// Of so many events one fails for ever.
const FAILING: u64 = 100;
const MIB: f64 = 1_048_576.0;

/// P6: deliveries to five subscriptions.
pub(super) fn fan_out(bench: &Bench) -> Outcome<Vec<Row>> {
    let (mut ours, mut peer, mut ratio) = (Runs::default(), Runs::default(), Runs::default());
    let (mut nats, total) = (Runs::default(), bench.sizes.events / 5);
    for _ in 0..bench.runs {
        let folder = bench.folder()?;
        let measure = Measure::FanOut { total, waiting: WAITING };
        let delivered: f64 = inside(&Task::new(data(&folder), measure))?;
        ours.push(delivered);
        if let Some(redis) = &bench.redis {
            let theirs = redis.fan_out(total, WAITING)?;
            peer.push(theirs);
            ratio.push(delivered / theirs);
        }
        if let Some(jetstream) = &bench.jetstream {
            nats.push(jetstream.fan_out(total / JETSTREAM, WAITING)?);
        }
    }
    let bound = Bound::AtLeast { floor: 160_000.0, goal: 300_000.0 };
    let share = ratio.told(|value| format!("{} Redis", times(value)));
    Ok(vec![
        Row::told("P6", "Redis Streams, always, five groups, deliveries", peer.told(rate)),
        Row::told("P6", "JetStream, sync always, five consumers, deliveries", nats.told(rate)),
        Row::judged("P6", "fan-out to 5, deliveries", ours.told(rate), share, (ours.median(), bound), rate),
    ])
}

/// P7 and P8, for each size of a backlog.
pub(super) fn backlogs(bench: &Bench) -> Outcome<Vec<Row>> {
    let (mut rows, mut memory) = (Vec::new(), Vec::new());
    for total in &bench.backlogs {
        table::complain(&format!("-- a backlog of {total}"));
        memory.push(backlog(bench, *total, &mut rows)?);
    }
    if let [first, .., last] = memory.as_slice() {
        let growth = last / first;
        let bound = Bound::AtMost { floor: 1.5, goal: 1.0 };
        let what = "memory with the largest backlog, of the smallest";
        rows.push(row(what, mebibytes(*last), &times(growth), (growth, bound), times));
    }
    Ok(rows)
}

/// A backlog is published, the process killed, started twice and drained. Once: it is long. The most memory it took.
fn backlog(bench: &Bench, total: u64, rows: &mut Vec<Row>) -> Outcome<f64> {
    let folder = bench.folder()?;
    let task = |measure| Task::new(data(&folder), measure);
    let (filled, child): (Filled, _) = inside_and_hold(&task(Measure::Fill { total, waiting: WAITING }))?;
    child.kill()?;
    let after_kill = restart(&folder)?;
    let after_end = restart(&folder)?;
    let drained: Drained = inside(&task(Measure::Drain { total }))?;
    rows.extend(life(total, &filled, &drained));
    for (what, seconds) in [("killed", after_kill), ("ended in order", after_end)] {
        let bound = Bound::AtMost { floor: 3.0, goal: 1.0 };
        let show = |value: f64| format!("{value:.2} s");
        let what = format!("start with a backlog of {total}, {what} before");
        rows.push(Row::judged("P8", what, show(seconds), "-", (seconds, bound), show));
    }
    if let Some(redis) = &bench.redis {
        let peer = redis.backlog(total, WAITING)?;
        let of_payload = peer.disk as f64 / payload(total);
        let (published, drained) = (rate(peer.publish), rate(peer.drain));
        let takes = format!("{}, {} payload", mebibytes(peer.resident as f64), times(of_payload));
        let what = "Redis Streams, always: publish, drain, RSS, disk";
        rows.push(Row::told("P7", what, format!("{published}, {drained}, {takes}")));
    }
    if let Some(jetstream) = &bench.jetstream {
        let peer = jetstream.backlog(total / JETSTREAM, WAITING)?;
        let (published, drained) = (rate(peer.publish), rate(peer.drain));
        let what = format!("JetStream, sync always, {}: publish, drain, RSS", total / JETSTREAM);
        let takes = mebibytes(peer.resident as f64);
        rows.push(Row::told("P7", what, format!("{published}, {drained}, {takes}")));
    }
    Ok(filled.resident_peak.max(drained.resident_peak) as f64)
}

fn payload(total: u64) -> f64 {
    (total * PAYLOAD as u64) as f64
}

type Judged = (f64, Bound);

fn row(what: &str, measured: String, share: &str, judged: Judged, show: impl Fn(f64) -> String) -> Row {
    Row::judged("P7", what, measured, share, judged, show)
}

/// All of P7: the rates first, then what it takes.
fn life(total: u64, filled: &Filled, drained: &Drained) -> Vec<Row> {
    let rates = Bound::AtLeast { floor: 120_000.0, goal: f64::INFINITY };
    let faster = Bound::AtLeast { floor: 1.0, goal: f64::INFINITY };
    let even = Bound::AtLeast { floor: f64::NEG_INFINITY, goal: 0.8 };
    let of_publish = drained.rate / filled.rate;
    let share = format!("{} publish", times(of_publish));
    let publish = format!("backlog of {total}, publish");
    let mut rows = vec![
        row(&publish, rate(filled.rate), "-", (filled.rate, rates), rate),
        Row::told("P7", "the same, told to wait (503)", filled.refused.to_string()),
        row("the same, drain", rate(drained.rate), &share, (of_publish, faster), times),
        row("publish, last tenth of first", percent(filled.evenness), "-", (filled.evenness, even), percent),
        row("drain, last tenth of first", percent(drained.evenness), "-", (drained.evenness, even), percent),
    ];
    rows.extend(size(total, filled, drained));
    rows
}

fn size(total: u64, filled: &Filled, drained: &Drained) -> Vec<Row> {
    let memory = Bound::AtMost { floor: 512.0 * MIB, goal: 200.0 * MIB };
    let disk = Bound::AtMost { floor: 2.0, goal: f64::NEG_INFINITY };
    let life = Bound::AtMost { floor: f64::INFINITY, goal: 3.0 };
    let resident = filled.resident_peak.max(drained.resident_peak) as f64;
    let written = (filled.written + drained.written) as f64;
    let (on_disk, whole_life) = (filled.disk as f64 / payload(total), written / payload(total));
    let show = |value: f64| format!("{} payload", times(value));
    let held = [filled.resident_before, filled.resident, drained.resident_peak];
    let held = held.map(|bytes| mebibytes(bytes as f64)).join(", ");
    vec![
        row("the same, most memory", mebibytes(resident), "-", (resident, memory), mebibytes),
        Row::told("P7", "memory before, with the backlog, in the drain", held),
        row("the same, disk", mebibytes(filled.disk as f64), &show(on_disk), (on_disk, disk), show),
        Row::told("P7", "disk when all is drained", mebibytes(drained.disk as f64)),
        row("written until drained", mebibytes(written), &show(whole_life), (whole_life, life), show),
    ]
}

/// Seconds from the start of a process until it takes events.
fn restart(folder: &tempfile::TempDir) -> Outcome<f64> {
    let begin = Stopwatch::start();
    let (server, address) = serve(folder.path())?;
    ready(address)?;
    let took = begin.elapsed().as_secs_f64();
    server.stop()?;
    Ok(took)
}

/// P10: the others, while one of a hundred fails for ever; by turns with a run in which none does.
pub(super) fn failing(bench: &Bench) -> Outcome<Vec<Row>> {
    let (mut sound, mut others, mut share) = (Runs::default(), Runs::default(), Runs::default());
    for _ in 0..bench.sizes.pairs {
        let whole = handled(bench, 0)?;
        let with_failures = handled(bench, FAILING)?;
        sound.push(whole);
        others.push(with_failures);
        share.push(with_failures / whole);
    }
    let bound = Bound::AtLeast { floor: 0.9, goal: 0.97 };
    Ok(vec![
        Row::told("P10", "publish and handle, none fails", sound.told(rate)),
        Row::judged(
            "P10",
            "the others, 1 % fails for ever",
            others.told(rate),
            share.told(percent),
            (share.median(), bound),
            percent,
        ),
    ])
}

fn handled(bench: &Bench, every: u64) -> Outcome<f64> {
    let folder = bench.folder()?;
    let measure = Measure::Failing { total: bench.sizes.events * 2 / 3, waiting: WAITING, every };
    inside(&Task::new(data(&folder), measure))
}

/// P11: what an event costs.
pub(super) fn counted(bench: &Bench) -> Outcome<Vec<Row>> {
    let folder = bench.folder()?;
    let measure = Measure::Count { total: bench.sizes.events / 3, waiting: WAITING };
    let counted: Counted = inside(&Task::new(data(&folder), measure))?;
    let bound = Bound::AtMost { floor: f64::INFINITY, goal: 10.0 };
    let mut rows = Vec::new();
    for (path, cost, own) in [("publish", counted.publish, counted.draft), ("settle", counted.settle, 0.0)] {
        let (count, bytes) = (cost.allocations - own, cost.allocated);
        let told = |value: f64| format!("{value:.1}");
        let what = format!("{path}: allocations of an event");
        rows.push(Row::judged(
            "P11",
            what,
            told(count),
            format!("{bytes:.0} B asked for"),
            (count, bound),
            told,
        ));
        rows.push(Row::told(
            "P11",
            format!("{path}: CPU, wake-ups and bytes written of an event"),
            format!("{:.1} us, {:.2}, {:.0} B", cost.kernel.cpu_us, cost.kernel.sleeps, cost.kernel.written),
        ));
    }
    rows.push(Row::told(
        "P11",
        "allocations of a draft, the publisher's own",
        format!("{:.1}", counted.draft),
    ));
    Ok(rows)
}
