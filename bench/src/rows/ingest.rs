//! P1, publishing over HTTP, and P9, polling while that runs.

use std::net::SocketAddr;
use std::time::Duration;

use super::Bench;
use crate::Outcome;
use crate::app::INGESTED;
use crate::children::{self, Running};
use crate::http::{Ask, Loaded, Loading, ask_once, publish_known, ready};
use crate::process::{Counters, PerEvent};
use crate::stats::{Runs, millis, percent, rate};
use crate::table::{Bound, Row};

/// Ids that are polled.
const KNOWN: u64 = 2_000;

/// P1: 64 connections that publish, beside the empty POST.
pub(super) fn ingest(bench: &Bench) -> Outcome<Vec<Row>> {
    let mut of = Ingest::default();
    for _ in 0..bench.runs {
        of.run(bench)?;
    }
    let bound = Bound::AtLeast { floor: 0.45, goal: 0.60 };
    let cost = of.cost;
    let mut rows = vec![
        Row::told("P1", "empty POST", of.empty.told(rate)),
        Row::judged(
            "P1",
            "HTTP ingest, 64 connections",
            of.paused.told(rate),
            of.share.told(percent),
            (of.share.median(), bound),
            percent,
        ),
        Row::told(
            "P1",
            "the same, its median and p99",
            format!("{}, {}", of.median.told(millis), of.p99.told(millis)),
        ),
        Row::told("P1", "the same, refused with 503", of.refused.told(|count| format!("{count:.0}"))),
        Row::told(
            "P1",
            "the same, CPU, wake-ups and bytes of an event",
            format!("{:.1} us, {:.2}, {:.0} B", cost.cpu_us, cost.sleeps, cost.written),
        ),
        Row::told(
            "P1",
            "the same with its consumer at work",
            format!("{} = {}", of.live.told(rate), of.live_share.told(percent)),
        ),
    ];
    if bench.redis.is_some() {
        let told = format!("{} = {}", of.front.told(rate), of.front_share.told(percent));
        rows.push(Row::told("P1", "the empty POST before Redis Streams", told));
    }
    Ok(rows)
}

#[derive(Default)]
struct Ingest {
    empty: Runs,
    paused: Runs,
    share: Runs,
    median: Runs,
    p99: Runs,
    refused: Runs,
    live: Runs,
    live_share: Runs,
    front: Runs,
    front_share: Runs,
    cost: PerEvent,
}

impl Ingest {
    fn run(&mut self, bench: &Bench) -> Outcome<()> {
        let empty = empty(bench, Ask::Post(INGESTED))?;
        self.empty.push(empty.rate);

        let (paused, cost) = tidegate(bench, true)?;
        self.cost = cost;
        self.paused.push(paused.rate);
        self.share.push(paused.rate / empty.rate);
        self.median.push(paused.median);
        self.p99.push(paused.p99);
        self.refused.push(paused.refused as f64);

        let (live, _) = tidegate(bench, false)?;
        self.live.push(live.rate);
        self.live_share.push(live.rate / empty.rate);

        if let Some(redis) = &bench.redis {
            let peer = redis.server()?;
            let (server, address) = children::front(&bench.disk, peer.port)?;
            let front = load(bench, address, Ask::Post(INGESTED), None).run()?;
            server.kill()?;
            self.front.push(front.rate);
            self.front_share.push(front.rate / empty.rate);
        }
        Ok(())
    }
}

/// P9: 64 connections that poll while P1 runs at half its rate; beside them the empty GET under the same load.
pub(super) fn polling(bench: &Bench) -> Outcome<Vec<Row>> {
    let half = tidegate(bench, false)?.0.rate / 2.0;
    let (mut polled, mut empty, mut share) = (Runs::default(), Runs::default(), Runs::default());
    let (mut kept, mut kept_empty) = (Runs::default(), Runs::default());
    for _ in 0..bench.runs {
        let (gets, posts) = beside(bench, half, true)?;
        let (ours, published) = beside(bench, half, false)?;
        empty.push(gets.rate);
        polled.push(ours.rate);
        share.push(ours.rate / gets.rate);
        kept.push(published.rate);
        kept_empty.push(posts.rate);
    }
    let bound = Bound::AtLeast { floor: 0.5, goal: 0.8 };
    Ok(vec![
        Row::told("P9", "empty GET beside P1 at half its rate", empty.told(rate)),
        Row::told(
            "P9",
            "that half; what of it came through beside the empty GET",
            format!("{}; {}", rate(half), kept_empty.told(rate)),
        ),
        Row::told("P9", "what of it came through beside the polling", kept.told(rate)),
        Row::judged(
            "P9",
            "status polling beside P1 at half its rate",
            polled.told(rate),
            share.told(percent),
            (share.median(), bound),
            percent,
        ),
    ])
}

/// Polls, of Tidegate or of the empty server, while Tidegate takes events at this pace: the polls and the events.
fn beside(bench: &Bench, pace: f64, of_the_empty: bool) -> Outcome<(Loaded, Loaded)> {
    let folder = bench.folder()?;
    let (server, address) = children::serve(folder.path())?;
    ready(address)?;
    publish_known(address, INGESTED, KNOWN)?;
    let empty = if of_the_empty { Some(children::empty(&bench.disk)?) } else { None };
    let asked = empty.as_ref().map_or(address, |(_, address)| *address);
    let publishing = load(bench, address, Ask::Post(INGESTED), Some(pace)).start()?;
    let polled = load(bench, asked, Ask::Poll(KNOWN), None).run()?;
    let published = publishing.join().map_err(|_| "the load generator panicked")??;
    server.kill()?;
    Ok((polled, published))
}

/// Publishes over HTTP to a bus of its own, whose subscription is paused or at work.
fn tidegate(bench: &Bench, paused: bool) -> Outcome<(Loaded, PerEvent)> {
    let folder = bench.folder()?;
    let (server, address) = children::serve(folder.path())?;
    ready(address)?;
    if paused && !ask_once(address, "POST", "/v1/subscriptions/drain/pause")? {
        return Err("the subscription cannot be paused".into());
    }
    let before = Counters::of(Some(server.pid()))?;
    let loaded = load(bench, address, Ask::Post(INGESTED), None).run()?;
    let cost = Counters::of(Some(server.pid()))?.per_event(before, loaded.answered);
    server.kill()?;
    Ok((loaded, cost))
}

fn empty(bench: &Bench, ask: Ask) -> Outcome<Loaded> {
    let (server, address): (Running, SocketAddr) = children::empty(&bench.disk)?;
    let loaded = load(bench, address, ask, None).run()?;
    server.kill()?;
    Ok(loaded)
}

fn load(bench: &Bench, address: SocketAddr, ask: Ask, pace: Option<f64>) -> Loading {
    Loading { address, ask, time: Duration::from_secs_f64(bench.sizes.seconds), pace }
}
