//! `serve`: the bus itself, until a signal ends it.

use std::net::SocketAddr;

use super::App;
use super::args::ConfigArgs;
use super::failure::{Exit, Failure};
use super::log;
use super::output::Output;
use super::wiring::{self, Wiring};
use crate::runtime;

/// Loads, checks, starts, and returns when everything is drained.
pub(super) fn serve(app: &App, config: &ConfigArgs, output: Output) -> Result<Exit, Failure> {
    let Wiring { settings, registry, problems } = match wiring::load(app, config) {
        Ok(wiring) if !wiring.problems.has_errors() => wiring,
        Ok(Wiring { problems, .. }) | Err(problems) => {
            wiring::report(&problems, output);
            return Ok(Exit::No);
        }
    };
    log::start_log(&settings.log).map_err(Failure::No)?;
    for warning in problems.warnings() {
        let (origin, line) = (&warning.place.origin, warning.place.line);
        tracing::warn!(origin, line, help = warning.help, "{}", warning.message);
    }
    tracing::info!(application = app.name, version = env!("CARGO_PKG_VERSION"), "starting");
    runtime::serve(&settings, registry, wiring::source(config), move |address| announce(address, output))
        .map_err(|error| Failure::No(told(&error)))?;
    Ok(Exit::Done)
}

/// Tells where the server listens, for people and for scripts that let it choose the port.
fn announce(address: SocketAddr, output: Output) {
    if output.is_json {
        output.text(&serde_json::json!({ "listening": format!("http://{address}") }).to_string());
    } else {
        output.text(&format!("listening on http://{address}"));
    }
}

/// An error with all that it stands on.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        // Many an error repeats its cause in its own text.
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}
