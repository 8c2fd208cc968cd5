//! Costs: what one operation asks of the allocator, beside the figures on file.
//!
//! One operation at a time, each until the bus is idle again, so that every group commit holds one change and
//! nothing depends on how fast the machine is. Each operation is counted by itself and the median is taken:
//! what the bus does now and then (upkeep, growth of a table) falls on a few of them. The bus actor's thread, which is the committer's,
//! where the store works, is counted apart from all others. A checkpoint is never due in that time.

mod bus;
mod client;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};
use tidegate::event::{Draft, EventName};
use tidegate::http;

use self::bus::Bus;
use self::client::Client;
use crate::alloc::count_from_now_on;
use crate::app::{HOP, INGESTED, Load};
use crate::{Failure, Outcome, table};

/// Operations before the first that counts.
const WARM: u64 = 100;
/// Operations that count.
const COUNTED: u64 = 400;
/// Events of one batch.
const BATCH: u64 = 128;
/// What to do with the figures.
#[derive(Debug, Args)]
pub(crate) struct CostsArgs {
    /// Compares them with those of this file: one that differs, to either side, is a failure.
    #[arg(long)]
    check: Option<PathBuf>,
    /// Writes them to this file.
    #[arg(long)]
    write: Option<PathBuf>,
    /// A folder on a disk for the data; what is in it is removed afterwards.
    #[arg(long, default_value = "target/bench-data")]
    data: PathBuf,
}

/// What one operation asks for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Cost {
    /// In the committer's thread.
    committer: Asked,
    /// In all others.
    others: Asked,
}

/// Allocations and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Asked {
    allocations: f64,
    bytes: f64,
}

type Costs = BTreeMap<String, Cost>;

/// Measures, prints, and compares or writes.
pub(crate) fn run(args: &CostsArgs) -> Outcome<()> {
    fs::create_dir_all(&args.data)?;
    count_from_now_on();
    let costs = measure(&args.data.canonicalize()?)?;
    let known: Option<Costs> = args
        .check
        .as_ref()
        .map(|file| Ok::<_, Failure>(serde_json::from_slice(&fs::read(file)?)?))
        .transpose()?;
    for (name, cost) in &costs {
        table::say(&line(name, cost, known.as_ref().and_then(|known| known.get(name))));
    }
    if let Some(file) = &args.write {
        fs::write(file, serde_json::to_string_pretty(&costs)? + "\n")?;
    }
    match known {
        Some(known) => compare(&costs, &known).map_err(Into::into),
        None => Ok(()),
    }
}

fn line(name: &str, cost: &Cost, known: Option<&Cost>) -> String {
    let asked = |asked: Asked| format!("{:6.1} of {:8.0} B", asked.allocations, asked.bytes);
    let was = known.map_or(String::new(), |known| {
        format!("   on file {} | {}", asked(known.committer), asked(known.others))
    });
    format!("{name:32} committer {} | others {}{was}", asked(cost.committer), asked(cost.others))
}

/// Whether every figure is what is on file, within what one allocation more or less in a hundred makes.
fn compare(costs: &Costs, known: &Costs) -> Result<(), String> {
    let mut wrong = Vec::new();
    for name in costs.keys().chain(known.keys()) {
        let is_same = match (costs.get(name), known.get(name)) {
            (Some(cost), Some(known)) => {
                cost.committer.is_near(known.committer) && cost.others.is_near(known.others)
            }
            _ => false,
        };
        if !is_same && !wrong.contains(&name) {
            wrong.push(name);
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!(
        "not what is on file: {wrong:?}; when more is asked for, find out why; when less, or for a good reason, write the file anew with `--write`"
    ))
}

impl Asked {
    fn is_near(self, other: Self) -> bool {
        let is_near = |a: f64, b: f64, least: f64| (a - b).abs() <= (b * 0.02).max(least);
        is_near(self.allocations, other.allocations, 0.5) && is_near(self.bytes, other.bytes, 128.0)
    }
}

fn measure(data: &Path) -> Outcome<Costs> {
    let mut costs = Costs::new();
    let quiet = Bus::start(data, true)?;
    let name = EventName::new(INGESTED)?;
    let draft = |n: u64| Draft::json(name.clone(), Load::new(n, false).json().into());
    let mut drafts = (0..WARM + COUNTED).map(|n| vec![draft(n)]);
    costs.insert("publish".into(), quiet.each(|bus| bus.publish(drafts.next().unwrap_or_default()))?);
    let batch = |n: u64| (n * BATCH..(n + 1) * BATCH).map(draft).collect::<Vec<_>>();
    let mut batches = (0..WARM + COUNTED).map(batch).collect::<Vec<_>>().into_iter();
    let whole = quiet.each(|bus| bus.publish(batches.next().unwrap_or_default()))?;
    costs.insert("publish, one of a batch of 128".into(), whole.shared_by(BATCH));
    costs.extend(over_http(&quiet)?);
    quiet.stop()?;

    let busy = Bus::start(data, false)?;
    let mut drafts = (0..WARM + COUNTED).map(|n| vec![draft(n)]);
    costs.insert(
        "publish and settle".into(),
        busy.each(|bus| bus.publish(drafts.next().unwrap_or_default()))?,
    );
    let hop = EventName::new(HOP)?;
    let mut drafts =
        (0..WARM + COUNTED).map(|n| vec![Draft::json(hop.clone(), Load::new(n, false).json().into())]);
    costs
        .insert("flow of five hops".into(), busy.each(|bus| bus.publish(drafts.next().unwrap_or_default()))?);
    busy.stop()?;
    Ok(costs)
}

/// The same by sockets: one connection, one worker.
fn over_http(bus: &Bus) -> Outcome<Vec<(String, Cost)>> {
    let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let door = bus.door();
    let (tell, told) = std::sync::mpsc::channel();
    let serving = std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async {
            let server = http::serve(listener, door)?;
            let _is_awaited = tell.send(server.handle()).is_ok();
            server.await
        })
    });
    let handle = told.recv()?;
    let mut client = Client::open(address)?;
    let body = String::from_utf8(Load::new(1, false).json())?;
    let plain = |header: &str| {
        let head = format!(
            "POST /v1/events/{INGESTED} HTTP/1.1\r\nHost: b\r\nContent-Type: application/json\r\n{header}"
        );
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())
    };
    let mut costs = Vec::new();
    let mut cost = |what: &str, request: &dyn Fn(u64) -> String, status: &str| -> Outcome<()> {
        let mut requests = (0..WARM + COUNTED).map(request).collect::<Vec<_>>().into_iter();
        let cost = bus.each_blocking(|| client.ask(&requests.next().unwrap_or_default(), status))?;
        costs.push((what.to_owned(), cost));
        Ok(())
    };
    cost("http: publish plain JSON", &|_| plain(""), "202")?;
    cost("http: publish a CloudEvent", &|n| structured(n, &body), "202")?;
    cost("http: publish a repeat", &|_| plain("Idempotency-Key: \"known\"\r\n"), "202")?;
    cost("http: status", &|_| "GET /v1/events/known HTTP/1.1\r\nHost: b\r\n\r\n".to_owned(), "200")?;
    cost("http: not found", &|_| "GET /v1/events/never HTTP/1.1\r\nHost: b\r\n\r\n".to_owned(), "404")?;
    cost("http: health", &|_| "GET /health HTTP/1.1\r\nHost: b\r\n\r\n".to_owned(), "200")?;
    drop(client);
    bus.waiter.block_on(handle.stop(true));
    serving.join().map_err(|_| "the server panicked")??;
    Ok(costs)
}

fn structured(n: u64, data: &str) -> String {
    let event = format!(
        r#"{{"specversion":"1.0","id":"c-{n}","source":"/bench","type":"{INGESTED}","time":"2026-03-31T14:05:09Z","subject":"s","data":{data}}}"#
    );
    let head = "POST /v1/events HTTP/1.1\r\nHost: b\r\nContent-Type: application/cloudevents+json\r\n";
    format!("{head}Content-Length: {}\r\n\r\n{event}", event.len())
}

impl Cost {
    fn shared_by(self, events: u64) -> Self {
        let one = |asked: Asked| Asked {
            allocations: asked.allocations / events as f64,
            bytes: asked.bytes / events as f64,
        };
        Self { committer: one(self.committer), others: one(self.others) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(allocations: f64, bytes: f64) -> Costs {
        let asked = Asked { allocations, bytes };
        Costs::from([("publish".to_owned(), Cost { committer: asked, others: asked })])
    }

    #[test]
    fn one_allocation_more_or_less_is_told() {
        let known = costs(20.0, 9_000.0);

        assert_eq!(compare(&costs(20.4, 9_100.0), &known), Ok(()));
        for other in [costs(21.0, 9_000.0), costs(19.0, 9_000.0), costs(20.0, 9_200.0), costs(20.0, 8_800.0)]
        {
            assert!(compare(&other, &known).is_err(), "{other:?}");
        }
    }

    #[test]
    fn an_operation_that_is_only_on_one_side_is_told() {
        assert!(compare(&Costs::new(), &costs(1.0, 1.0)).is_err());
        assert!(compare(&costs(1.0, 1.0), &Costs::new()).is_err());
    }
}
