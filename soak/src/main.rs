//! The reliability harness: the real runtime, killed, starved and lied to, with an oracle beside.
//!
//! ```text
//! run ──> power/ fail rot full io (one test each) ──> site ──> child: work (the runtime with publishers)
//!            │                                                        serve (the product's command line)
//!            └──> check: record + ledger (the oracle) against what the restarted bus tells
//! ```
//!
//! `scripts/soak.sh` builds and starts it; `docs/reliability.md` says what each test shows.

mod app;
mod check;
mod dice;
mod fail;
mod full;
mod io;
mod power;
mod record;
mod report;
mod rot;
mod serving;
mod site;
mod time;
mod work;

use std::error::Error;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::report::Report;

/// What can go wrong in the harness itself: it ends the run with its message.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Kills, starves and lies to a Tidegate, and looks whether it keeps its promises.
#[derive(Debug, Parser)]
#[command(name = "tidegate-soak")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the tests and print the table.
    Run(RunArgs),
    /// The process under torment.
    #[command(hide = true)]
    Work(work::WorkArgs),
    /// What the controls of the power cuts write with.
    #[command(hide = true)]
    Control(power::ControlArgs),
}

/// Which tests, and how much of each.
#[derive(Debug, Clone, Args)]
struct RunArgs {
    /// Full sizes; otherwise those of every change.
    #[arg(long)]
    full: bool,
    /// Only these: power, fail, rot, full, io.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Seed; without it from anywhere, and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// How many, in place of the size.
    #[arg(long)]
    count: Option<u64>,
}

/// A test: its name, how many of it a change and a release get, and itself.
type Test = (&'static str, u64, u64, fn(u64, u64, &mut Report) -> Outcome<()>);

const TESTS: [Test; 5] = [
    ("power", 20, 500, power::run),
    ("fail", 1, 8, fail::run),
    ("rot", 100, 2_000, rot::run),
    ("full", 1, 10, full::run),
    ("io", 50, 200, io::run),
];

fn main() -> ExitCode {
    // The product's own command line, as any application has it.
    if std::env::args().nth(1).is_some_and(|verb| verb == "serve") {
        return tidegate::cli::main(app::APP);
    }
    let done = match Arguments::parse().verb {
        Verb::Run(args) => run(&args),
        Verb::Work(args) => log().and_then(|()| work::run(&args)).map(|()| true),
        Verb::Control(args) => power::control(&args).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run(args: &RunArgs) -> Outcome<bool> {
    let seed = args.seed.unwrap_or_else(dice::Dice::any_seed);
    say(&format!("seed {seed}: the same with --seed {seed}"));
    let mut report = Report::default();
    for (name, small, large, test) in TESTS {
        if args.only.is_empty() || args.only.iter().any(|only| only == name) {
            let count = args.count.unwrap_or(if args.full { large } else { small });
            test(count, seed, &mut report)?;
        }
    }
    report.print();
    Ok(report.is_good())
}

fn log() -> Outcome<()> {
    let filter = tracing_subscriber::EnvFilter::try_new("warn")?;
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).try_init()
}

/// A line of the report.
#[expect(clippy::print_stdout, reason = "what the harness is for")]
fn say(line: &str) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "why the harness failed")]
fn complain(line: &str) {
    eprintln!("tidegate-soak: {line}");
}
