//! Cli: arguments to the runtime or to an HTTP call; the only room that prints.
//!
//! `serve`, `check` and `graph` work with the application's own steps; every other verb is a client that
//! asks a running server by HTTP. Results go to standard output, problems and progress to standard error,
//! and the exit code says what came of it (see [`main`]). With `--json` standard output holds exactly one
//! JSON document, an error included.
//!
//! No other room prints, so a library user of the runtime never finds a line he did not ask for.

mod args;
mod audit;
mod backup;
mod bar;
mod cancel_flow;
mod client;
mod dead;
mod explain;
mod failure;
#[cfg(test)]
mod fake;
mod find;
mod flood;
mod help;
mod jobs;
mod lines;
mod log;
mod mend;
mod output;
mod patience;
mod publish;
mod reload;
mod replay;
mod serve;
mod show;
mod steer;
mod store;
mod subscriptions;
mod test;
mod timing;
mod tree;
mod unrouted;
mod wiring;

use std::error::Error;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::config::Settings;
use crate::step::Registry;

use args::{Arguments, TestArgs, Verb};
use failure::{Exit, Failure};
use output::Output;

pub use log::start_log;

/// What an application hands to the command line.
#[derive(Debug, Clone, Copy)]
pub struct App {
    /// The application's name, as the logs tell it.
    pub name: &'static str,
    /// Builds the application's steps from the settings: from a data path, from its own `[app.…]` tables.
    /// Its error is shown as a problem of the config, one from [`Settings::app`] at its place in the file.
    pub steps: fn(&Settings) -> Result<Registry, Box<dyn Error + Send + Sync>>,
}

/// Runs the command line with the arguments of this process and says how the process ends.
///
/// Exit codes: 0 done; 1 the answer is no (problems in the config, a failed or unfinished flow under
/// `--wait`, something not found, an event or an act refused); 2 the command line is wrong or a file that it
/// names cannot be read; 3 the server cannot be reached or cannot serve now.
pub fn main(app: App) -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let output = Output::new(arguments.json, arguments.no_color);
    let outcome = run(&app, arguments, output);
    outcome.unwrap_or_else(|failure| output.failure(&failure)).into()
}

fn run(app: &App, arguments: Arguments, output: Output) -> Result<Exit, Failure> {
    let above = arguments.config;
    match arguments.verb {
        None => serve::serve(app, &above, output),
        Some(Verb::Serve(config)) => serve::serve(app, &config.or(above), output),
        Some(Verb::Check(config)) => Ok(wiring::check(app, &config.or(above), output)),
        Some(Verb::Graph(graph)) => Ok(wiring::graph(app, &graph.config.or(above), graph.format, output)),
        Some(Verb::Test(test)) => {
            let TestArgs { names, config } = test;
            test::test(app, &TestArgs { names, config: config.or(above) }, output)
        }
        Some(Verb::Publish(publish)) => publish::publish(&publish, output),
        Some(Verb::Status(status)) => show::status(&status, output),
        Some(Verb::Explain(args)) => explain::explain(&args, output),
        Some(Verb::Flow(flow)) => show::flow(&flow, output),
        Some(Verb::Flows(flows)) => find::flows(&flows, output),
        Some(Verb::Events(events)) => find::events(&events, output),
        Some(Verb::CancelFlow(cancel)) => cancel_flow::cancel_flow(&cancel, output),
        Some(Verb::Dead(dead)) => dead::dead(&dead, output),
        Some(Verb::Subscriptions(subscriptions)) => subscriptions::subscriptions(subscriptions, output),
        Some(Verb::Replay(replay)) => replay::replay(&replay, output),
        Some(Verb::Replays(replays)) => replay::replays(&replays, output),
        Some(Verb::Unrouted(unrouted)) => unrouted::unrouted(&unrouted, output),
        Some(Verb::Reload(args)) => reload::reload(&args, output),
        Some(Verb::Pause(args)) => steer::steer(&args, "pause", output),
        Some(Verb::Resume(args)) => steer::steer(&args, "resume", output),
        Some(Verb::Drain(args)) => steer::drain(&args, output),
        Some(Verb::Jobs(jobs)) => jobs::jobs(jobs, output),
        Some(Verb::Audit(audit)) => audit::audit(&audit, output),
        Some(Verb::Cancel(cancel)) => timing::cancel(&cancel, output),
        Some(Verb::Reschedule(reschedule)) => timing::reschedule(&reschedule, output),
        Some(Verb::Schedules(server)) => timing::schedules(&server, output),
        Some(Verb::Backup(args)) => backup::backup(&args, output),
        Some(Verb::Restore(args)) => backup::restore(&args, output),
        Some(Verb::Store(verb)) => store::store(&verb, output),
        Some(Verb::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "tidegate", &mut script);
            output.raw(&script);
            Ok(Exit::Done)
        }
    }
}

/// Prints help and version (exit 0) or what is wrong with the arguments (exit 2).
fn usage(error: &clap::Error) -> ExitCode {
    // A closed pipe is no reason to complain: nobody reads.
    let _unread = error.print();
    if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() }
}

#[cfg(test)]
mod tests;
