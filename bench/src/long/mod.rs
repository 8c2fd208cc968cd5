//! The long run: half of what can be taken, for half an hour, with checkpoints and retention at work.
//!
//! ```text
//! capacity   64 connections publish as fast as they are answered; events until the last one is handled, a second
//! warming up half of that, at a fixed rate, until what is kept is removed as fast as it comes
//! the run    the same rate on; each second a look at the files, every few seconds a sample
//! the end    all that was accepted has to be handled; the table, the raw file and the picture
//! ```
//!
//! Settings are the product's defaults but for `store.retention`, `http.status_ttl` and `http.dedupe_window`: a day of
//! each would be a run of days.

mod axis;
mod chart;
mod histogram;
mod offer;
mod picture;
mod verdict;
mod watch;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tempfile::TempDir;
use tidegate::clock::Stopwatch;

use self::offer::{Offer, Offered};
use self::verdict::Ends;
use self::watch::{COLUMNS, Sample, Watch};
use crate::app::{self, INGESTED, PAYLOAD};
use crate::children::{Running, pause, serve_wired};
use crate::host::Full;
use crate::http::{Ask, Loading, ask_once, known_status, publish_known, ready};
use crate::process::{self, Counters};
use crate::stats::{mebibytes, percent, rate};
use crate::table::{self, Row};
use crate::{Outcome, table::Bound};

/// A checkpoint is due after this time at the latest; what is kept is even when one more has passed.
const CHECKPOINT: f64 = 30.0;
/// The picture has about so many points.
const POINTS: f64 = 300.0;
/// How long the last events may take after the load has ended.
const GRACE: Duration = Duration::from_mins(1);
/// Events of the beginning whose status is asked for at the end.
const KNOWN: u64 = 10;

/// How long, how much, and where to.
#[derive(Debug, Args)]
// The script gives a label and a place for the picture; whoever calls it may give others.
#[command(args_override_self = true)]
pub(crate) struct LongArgs {
    /// Minutes that are judged; the warming up comes before them.
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// Seconds that payloads, statuses and ids are kept after a flow is at rest.
    #[arg(long, default_value_t = 120.0)]
    kept: f64,
    /// Seconds of the load that measures what can be taken.
    #[arg(long, default_value_t = 20.0)]
    capacity: f64,
    /// What is offered, as a share of what can be taken.
    #[arg(long, default_value_t = 0.5)]
    share: f64,
    /// Events a second to be offered, in place of that share.
    #[arg(long)]
    rate: Option<f64>,
    /// Where the picture goes; without it, into the data folder.
    #[arg(long)]
    out: Option<PathBuf>,
    /// What the picture says of the build, as `commit abc1234, 2026-11-29`.
    #[arg(long, default_value = "")]
    label: String,
    /// A folder on a disk: the bus's data, removed afterwards, and the raw file `long-run.csv`.
    #[arg(long, default_value = "target/bench-data")]
    data: PathBuf,
}

/// What is run, when the rate is known.
#[derive(Debug, Clone, Copy)]
struct Plan {
    rate: f64,
    /// Seconds before those that are judged.
    warm: f64,
    /// Seconds in all.
    time: f64,
    /// Seconds of an interval.
    every: f64,
}

/// What came of it.
#[derive(Debug, Default)]
struct Run {
    samples: Vec<Sample>,
    accepted: u64,
    refused: u64,
    /// Accepted and not handled.
    lost: u64,
    /// Whether what was accepted first is not known any more.
    has_forgotten: bool,
    per_event: process::PerEvent,
}

/// Measures, draws and judges.
pub(crate) fn run(args: &LongArgs) -> Outcome<()> {
    fs::create_dir_all(&args.data)?;
    let disk = args.data.canonicalize()?;
    let kept = Duration::from_secs_f64(args.kept);
    table::say(&format!("{}, load {} before", process::machine(), process::load()));
    let mut memory = Full::default();
    memory.fill(&disk)?;
    let (offered, of) = if let Some(rate) = args.rate {
        (rate, "as asked for".to_owned())
    } else {
        let capacity = capacity(&disk, kept, args.capacity)?;
        (
            capacity * args.share,
            format!("{:.0} % of the {} that it can take", args.share * 100.0, rate(capacity)),
        )
    };
    let warm = args.kept * 2.0 + CHECKPOINT;
    let time = warm + args.minutes * 60.0;
    let plan = Plan { rate: offered, warm, time, every: (time / POINTS).round().max(1.0) };
    table::complain(&format!(
        "-- {} ({of}) for {:.0} s, {warm:.0} s of them to warm up",
        rate(offered),
        time
    ));
    memory.fill(&disk)?;
    let mut run = Run::default();
    let ended = observe(plan, &disk, kept, &mut run);
    // Whatever went wrong: what was seen until then is what one wants to look at.
    let title =
        format!("{} minutes of HTTP ingest with its consumer at work, {}", args.minutes, rate(offered));
    tell(args, &disk, title, &of, &run)?;
    ended?;
    if run.refused + run.lost > 0 {
        return Err(format!("{} events refused, {} lost", run.refused, run.lost).into());
    }
    Ok(())
}

/// Events a second that are accepted and handled when as many are offered as are answered.
fn capacity(disk: &Path, kept: Duration, seconds: f64) -> Outcome<f64> {
    let folder = TempDir::with_prefix_in("long-", disk)?;
    let (server, address, watch) = started(&folder, kept)?;
    let begin = Stopwatch::start();
    let time = Duration::from_secs_f64(seconds);
    let loaded = Loading { address, ask: Ask::Post(INGESTED), time, pace: None }.run()?;
    drain(&watch)?;
    let took = begin.elapsed().as_secs_f64();
    server.kill()?;
    table::complain(&format!(
        "-- accepted {} by 64 connections, each waiting for its answer; handled {}",
        rate(loaded.rate),
        rate(loaded.answered as f64 / took)
    ));
    Ok(loaded.answered as f64 / took)
}

fn started(folder: &TempDir, kept: Duration) -> Outcome<(Running, SocketAddr, Watch)> {
    let data = folder.path().join("data");
    let (server, address) = serve_wired(folder.path(), &app::wiring_that_forgets(&data, kept))?;
    ready(address)?;
    let watch = Watch::new(server.pid(), address, &data);
    Ok((server, address, watch))
}

/// Waits until nothing waits; says how much was handled in all.
fn drain(watch: &Watch) -> Outcome<u64> {
    let begin = Stopwatch::start();
    loop {
        let (backlog, handled) = watch.backlog()?;
        if backlog == 0 || begin.elapsed() > GRACE {
            return Ok(handled);
        }
        pause(Duration::from_millis(20));
    }
}

/// Offers the load to a new server and notes what happens.
fn observe(plan: Plan, disk: &Path, kept: Duration, run: &mut Run) -> Outcome<()> {
    let folder = TempDir::with_prefix_in("long-", disk)?;
    let (server, address, mut watch) = started(&folder, kept)?;
    publish_known(address, INGESTED, KNOWN)?;
    drain(&watch)?;
    let before = Counters::of(Some(server.pid()))?;
    let offer = Offer { address, rate: plan.rate, time: Duration::from_secs_f64(plan.time) };
    let offered = Arc::new(Offered::default());
    let load = offer.start(Arc::clone(&offered))?;
    let looked = look(plan, &load, &mut watch, &offered, &mut run.samples);
    (run.accepted, run.refused) = (offered.accepted(), offered.refused());
    looked?;
    load.join().map_err(|_| "the load generator panicked")??;
    run.lost = (run.accepted + KNOWN).saturating_sub(drain(&watch)?);
    run.per_event = Counters::of(Some(server.pid()))?.per_event(before, run.accepted);
    run.has_forgotten = !ask_once(address, "GET", &known_status(0))?;
    server.stop()
}

/// Looks each second, and takes a sample at the end of each interval, until the load has ended.
fn look(
    plan: Plan,
    load: &std::thread::JoinHandle<Outcome<()>>,
    watch: &mut Watch,
    offered: &Offered,
    samples: &mut Vec<Sample>,
) -> Outcome<()> {
    let (begin, mut next) = (Stopwatch::start(), plan.every);
    watch.begin(-plan.warm);
    let mut second = Duration::ZERO;
    while !load.is_finished() {
        second += Duration::from_secs(1);
        pause(second.saturating_sub(begin.elapsed()));
        watch.glance()?;
        let now = begin.elapsed().as_secs_f64();
        if now >= next && now < plan.time + 0.5 {
            next += plan.every;
            let sample = watch.sample(now - plan.warm, offered)?;
            if samples.len().is_multiple_of(20) {
                table::complain(&sample.line());
            }
            samples.push(sample);
        }
        if now > plan.time + GRACE.as_secs_f64() {
            return Err("the server does not answer what it was asked".into());
        }
    }
    Ok(())
}

/// The table, the raw file and the picture.
fn tell(args: &LongArgs, disk: &Path, title: String, of: &str, run: &Run) -> Outcome<()> {
    let lines: Vec<String> = run.samples.iter().map(Sample::line).collect();
    let raw = disk.join("long-run.csv");
    fs::write(&raw, format!("{COLUMNS}\n{}\n", lines.join("\n")))?;
    let ends = Ends::of(&run.samples);
    let (most, last) = (most(run), run.samples.last().cloned().unwrap_or_default());
    let load = format!(
        "{of}, {PAYLOAD} bytes each, kept {} s; {} checkpoints, {} journal files removed, backlog at most {}",
        args.kept, last.checkpoints, last.removed, most.backlog
    );
    let build = [args.label.as_str(), &process::machine()];
    let build = build.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ");
    let out = args.out.clone().unwrap_or_else(|| disk.join("long-run.svg"));
    if let Some(folder) = out.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&out, picture::picture(title, vec![load, build], &run.samples, &ends).svg())?;
    let mut rows = ends.rows();
    rows.extend(whole(run, &most, &last));
    table::say(&table::render(&rows));
    let (judged, uneven) = table::count(&rows);
    table::say(&format!("{uneven} of {judged} judged lines are not flat, or above what is allowed"));
    table::say(&format!("raw: {}; picture: {}", raw.display(), out.display()));
    Ok(())
}

/// The most of each, over the whole run.
fn most(run: &Run) -> Sample {
    run.samples.iter().fold(Sample::default(), |most, sample| Sample {
        backlog: most.backlog.max(sample.backlog),
        resident: most.resident.max(sample.resident),
        journal: most.journal.max(sample.disk()),
        stolen: most.stolen.max(sample.stolen),
        ..most
    })
}

/// What is said of the whole run.
fn whole(run: &Run, most: &Sample, last: &Sample) -> Vec<Row> {
    let none = |what: &str, count: u64| {
        let bound = Bound::AtMost { floor: 0.0, goal: f64::NEG_INFINITY };
        let show = |value: f64| format!("{value:.0}");
        Row::judged("long", what, count.to_string(), "-", (count as f64, bound), show)
    };
    let told = |what: &str, measured: String| Row::told("long", what, measured);
    let cost = run.per_event;
    let peaks = [most.resident, most.journal].map(|bytes| mebibytes(bytes as f64)).join(", ");
    vec![
        none("accepted and not handled", run.lost),
        none("refused", run.refused),
        told("accepted", run.accepted.to_string()),
        told("most that waited", most.backlog.to_string()),
        told("most memory, most disk", peaks),
        told("checkpoints, journal files removed", format!("{}, {}", last.checkpoints, last.removed)),
        told("most of the processors' time that the host took in a sample", percent(most.stolen)),
        told("the first events are forgotten", if run.has_forgotten { "yes" } else { "no" }.to_owned()),
        told(
            "CPU, wake-ups and bytes written of an event",
            format!("{:.1} us, {:.2}, {:.0} B", cost.cpu_us, cost.sleeps, cost.written),
        ),
    ]
}
