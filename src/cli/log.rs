//! Log: what the running bus writes to standard error, as text for people or as JSON for collectors.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSettings};

/// Starts logging for the whole process.
///
/// # Errors
/// A message when the filter cannot be read, or when somebody has started logging before.
pub(super) fn start(settings: &LogSettings) -> Result<(), String> {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter(&settings.filter)?)
        // It would be told with `eprintln!`, which panics when standard error is on the full disk: in the committer, say.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    match settings.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
        }
    }
    .map_err(|error| format!("cannot start logging: {error}"))
}

fn filter(text: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(text).map_err(|error| {
        format!("log.filter {text:?} cannot be read: {error}; write a level, and exceptions behind it: info,tidegate::store=debug")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_cannot_be_read_is_refused_by_name() {
        assert!(filter(&LogSettings::default().filter).is_ok());
        assert!(filter("info,tidegate::store=debug").is_ok());
        assert!(filter("tidegate=loud").unwrap_err().contains("tidegate=loud"));
    }
}
