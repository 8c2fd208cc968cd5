//! The benchmarks of Tidegate: P1 to P11, each beside what it is measured against, in one run.
//!
//! ```text
//! run ──> rows/ (one file a row) ──> child processes: serve  (the product's command line)
//!              │                                      inside (the runtime in a process of its own)
//!              │                                      empty, front (the same server without the bus)
//!              ├──> http/  load over sockets          redis-server, nats-server
//!              └──> table  what it says, and whether it reaches the floor
//! ```
//!
//! The driver measures nothing in its own process but the load it makes. `scripts/bench.sh` builds and starts it.

mod alloc;
mod app;
mod children;
mod costs;
mod counters;
mod disk;
mod host;
mod http;
mod inside;
mod long;
mod peers;
mod process;
mod rows;
mod servers;
mod stats;
mod table;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The allocator of the shipped binary, with a counter in front that row P11 switches on.
#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;

/// What can go wrong in a benchmark: it ends the run with its message.
type Outcome<T> = Result<T, Failure>;
type Failure = Box<dyn Error + Send + Sync>;

/// Measures Tidegate beside the disk, an empty server and its peers.
#[derive(Debug, Parser)]
#[command(name = "tidegate-bench")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Measure and print the table.
    Run(rows::RunArgs),
    /// Offer half of what can be taken for a long time, and draw what comes of it.
    Long(long::LongArgs),
    /// Count what one operation asks of the allocator.
    Costs(costs::CostsArgs),
    /// One measure in a process of its own; prints one line of JSON.
    #[command(hide = true)]
    Inside {
        /// The task as JSON.
        task: String,
    },
    /// A server that answers and does nothing.
    #[command(hide = true)]
    Empty,
    /// The same server, which puts each body into Redis before it answers.
    #[command(hide = true)]
    Front {
        /// The port of Redis.
        port: u16,
    },
}

fn main() -> ExitCode {
    // The product's own command line, as any application has it.
    if std::env::args().nth(1).is_some_and(|verb| verb == "serve") {
        return tidegate::cli::main(app::APP);
    }
    let done = match Arguments::parse().verb {
        Verb::Run(args) => rows::run(&args),
        Verb::Long(args) => long::run(&args),
        Verb::Costs(args) => costs::run(&args),
        Verb::Inside { task } => inside::run(&task),
        Verb::Empty => servers::empty(),
        Verb::Front { port } => servers::front(port),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            table::complain(&format!("the benchmark failed: {error}"));
            ExitCode::FAILURE
        }
    }
}
