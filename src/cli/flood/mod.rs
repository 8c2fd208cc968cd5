//! Flood: many events, in batches, several requests at a time.
//!
//! ```text
//! lines ──(one lock)──> thread: batch ─> POST /v1/events ──> tally
//!                         │ refused: halved until the event that is to blame stands alone
//! ```
//! A batch is all or nothing at the server, so a refused one is halved and sent again: good lines get
//! through, bad ones are told by their number. The first failure that waiting does not mend stops all threads.

use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use super::args::PublishArgs;
use super::client::{Answer, CLOUDEVENTS, Client};
use super::failure::{Exit, Failure, Problem};
use super::lines::{Line, Lines, Recipe};
use super::output::{Output, clean_line, plural};
use super::patience::Patience;
use super::publish::Receipt;
use crate::clock::Stopwatch;

/// Bytes of one request, well below the server's usual limit of 1 MiB; a single event may be larger.
const BATCH_BYTES: usize = 512 << 10;
/// Refused lines that are told one by one; the rest is counted.
const ERRORS_MAX: usize = 10;

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Tally {
    accepted: u64,
    /// Of the accepted ones, those that the server had already.
    replayed: u64,
    refused: u64,
    errors: Vec<RefusedLine>,
    #[serde(skip)]
    failure: Option<Failure>,
}

#[derive(Debug, Serialize)]
struct RefusedLine {
    line: u64,
    detail: String,
}

#[derive(Deserialize)]
struct BatchReceipt {
    events: Vec<Receipt>,
}

/// An event that is ready to be sent.
struct Ready {
    line: u64,
    event: String,
}

struct Flood<'a> {
    client: &'a Client,
    recipe: Recipe<'a>,
    batch: usize,
    lines: Mutex<Lines>,
    tally: Mutex<Tally>,
    patience: Patience,
    bar: ProgressBar,
}

/// Publishes every line, and says at the end what came of them.
pub(super) fn flood(args: &PublishArgs, client: &Client, output: Output) -> Result<Exit, Failure> {
    let watch = Stopwatch::start();
    let tally = pour(args, client)?;
    Ok(report(&tally, watch.elapsed().as_secs_f64(), output))
}

fn pour(args: &PublishArgs, client: &Client) -> Result<Tally, Failure> {
    let lines = Lines::open(args)?;
    let flood = Flood {
        client,
        recipe: Recipe::of(args),
        batch: usize::from(args.batch),
        bar: bar(lines.total()),
        lines: Mutex::new(lines),
        tally: Mutex::default(),
        patience: Patience::default(),
    };
    std::thread::scope(|scope| {
        for _ in 0..args.concurrency {
            scope.spawn(|| flood.work());
        }
    });
    flood.bar.finish_and_clear();
    Ok(flood.tally.into_inner().unwrap_or_else(PoisonError::into_inner))
}

impl Flood<'_> {
    fn work(&self) {
        while !self.patience.is_stopped() {
            let lines = match self.take() {
                Ok(lines) if lines.is_empty() => return,
                Ok(lines) => lines,
                Err(error) => return self.give_up(Failure::Usage(format!("cannot read the lines: {error}"))),
            };
            let weight = lines.iter().map(|line| line.weight).sum();
            let mut ready = Vec::with_capacity(lines.len());
            for line in lines {
                match self.recipe.event(&line.text) {
                    Ok(event) => ready.push(Ready { line: line.number, event }),
                    Err(detail) => self.refuse(line.number, detail),
                }
            }
            self.send(&ready);
            self.bar.inc(weight);
        }
    }

    /// The lines of the next batch; empty at the end.
    fn take(&self) -> std::io::Result<Vec<Line>> {
        let mut source = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = Vec::new();
        let mut bytes = 0;
        while lines.len() < self.batch && bytes < BATCH_BYTES {
            let Some(line) = source.next()? else { break };
            bytes += line.text.len();
            lines.push(line);
        }
        Ok(lines)
    }

    fn send(&self, batch: &[Ready]) {
        if batch.is_empty() || self.patience.is_stopped() {
            return;
        }
        let events: Vec<&str> = batch.iter().map(|ready| ready.event.as_str()).collect();
        let body = format!("[{}]", events.join(","));
        let told = |failure: &Failure, _| self.bar.set_message(clean_line(&failure.to_problem().title));
        let outcome = self.patience.insist(told, || self.client.post("/v1/events", CLOUDEVENTS, &body));
        match outcome.and_then(|answer| accepted(&answer, batch.len())) {
            Ok(replayed) => self.accept(batch.len(), replayed),
            Err(Failure::Refused(problem)) if problem.is_about_events() => match batch {
                [one] => self.refuse(one.line, problem.detail.unwrap_or(problem.title)),
                more => {
                    let (first, second) = more.split_at(more.len() / 2);
                    self.send(first);
                    self.send(second);
                }
            },
            Err(failure) => self.give_up(failure),
        }
    }

    fn accept(&self, events: usize, replayed: usize) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.accepted += events as u64;
        tally.replayed += replayed as u64;
        self.bar.set_message(format!("{} accepted, {} refused", tally.accepted, tally.refused));
    }

    fn refuse(&self, line: u64, detail: String) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.refused += 1;
        // Threads are not in step: keep the first lines, not the first that were refused.
        let at = tally.errors.partition_point(|known| known.line < line);
        if at < ERRORS_MAX {
            tally.errors.insert(at, RefusedLine { line, detail });
            tally.errors.truncate(ERRORS_MAX);
        }
    }

    fn give_up(&self, failure: Failure) {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).failure.get_or_insert(failure);
        self.patience.stop();
    }
}

/// How many of a batch the server has known before.
fn accepted(answer: &Answer, sent: usize) -> Result<usize, Failure> {
    let receipts = answer.parse::<BatchReceipt>()?.events;
    let told = receipts.iter().filter(|receipt| receipt.replayed).count();
    Ok(if told == 0 && answer.is_replayed { sent } else { told })
}

fn bar(total: Option<u64>) -> ProgressBar {
    let (bar, form) = match total {
        Some(total) => (ProgressBar::new(total), "{bar:40} {percent:>3} %  {msg}  {elapsed}, {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg}  {elapsed}"),
    };
    // On anything but a terminal nothing is drawn.
    match ProgressStyle::with_template(form) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn report(tally: &Tally, seconds: f64, output: Output) -> Exit {
    #[derive(Serialize)]
    struct Report<'a> {
        #[serde(flatten)]
        tally: &'a Tally,
        seconds: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        failure: Option<Problem>,
    }
    if output.is_json {
        output.document(&Report { tally, seconds, failure: tally.failure.as_ref().map(Failure::to_problem) });
    } else {
        output.text(&summary(tally, seconds));
        if let Some(failure) = &tally.failure {
            output.note("stopped before the end; run it again when this is mended (with --id-field nothing is stored twice)");
            output.failure(failure);
        }
    }
    tally.failure.as_ref().map_or(Exit::yes(tally.refused == 0), Failure::exit)
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn summary(tally: &Tally, seconds: f64) -> String {
    let rate = tally.accepted as f64 / seconds.max(0.001);
    let known =
        if tally.replayed > 0 { format!(" ({} known already)", tally.replayed) } else { String::new() };
    let accepted = plural(tally.accepted, "event");
    let mut lines = vec![format!(
        "{accepted} accepted{known}, {} refused in {seconds:.1} s ({rate:.0}/s)",
        tally.refused
    )];
    lines.extend(
        tally.errors.iter().map(|error| format!("  line {}: {}", error.line, clean_line(&error.detail))),
    );
    let untold = tally.refused.saturating_sub(tally.errors.len() as u64);
    if untold > 0 {
        lines.push(format!("  and {untold} more"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests;
