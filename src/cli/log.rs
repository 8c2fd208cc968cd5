//! Log: what the running bus writes to standard error, as text for people or as JSON for collectors.

use std::cell::RefCell;
use std::error::Error;
use std::fmt::{self, Debug};
use std::io::IsTerminal as _;

use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing_subscriber::field::{RecordFields, VisitOutput as _};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultVisitor, Writer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{LogFormat, LogSettings};

/// Starts logging for the whole process, to standard error, as `serve` does it.
///
/// # Errors
/// A message when the filter cannot be read, or when somebody has started logging before.
pub fn start_log(settings: &LogSettings) -> Result<(), String> {
    let log = tracing_subscriber::registry();
    let lines = tracing_subscriber::fmt::layer()
        // It would be told with `eprintln!`, which panics when standard error is on the full disk: in the committer, say.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let text = &settings.filter;
    match settings.format {
        LogFormat::Text if std::io::stderr().is_terminal() => {
            log.with(lines.with_ansi(true)).with(filter(text)?).try_init()
        }
        LogFormat::Text => {
            log.with(lines.with_ansi(false).fmt_fields(PlainFields)).with(filter(text)?).try_init()
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(true).with_span_list(false);
            log.with(lines).with(filter(text)?).try_init()
        }
    }
    .map_err(|error| format!("cannot start logging: {error}"))
}

const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// A line longer than this is let go of.
const LINE_KEPT: usize = 4_096;

/// Fields as the library writes them without colours, but quick about plain texts: each attempt has a span with four of
/// them, and writing them as if they could hold anything took 3 % of a chain of steps (a profile).
#[derive(Debug)]
struct PlainFields;

thread_local! {
    /// Where fields are put together: what they are written to is mostly a new text, which would grow with each part.
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

impl<'writer> FormatFields<'writer> for PlainFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        // Taken, since a value may log while it is written.
        let mut line = LINE.take();
        line.clear();
        let mut visitor = PlainVisitor { writer: Writer::new(&mut line), is_empty: true, result: Ok(()) };
        fields.record(&mut visitor);
        let written = visitor.result.and_then(|()| writer.write_str(&line));
        if line.capacity() <= LINE_KEPT {
            LINE.set(line);
        }
        written
    }
}

struct PlainVisitor<'writer> {
    writer: Writer<'writer>,
    is_empty: bool,
    result: fmt::Result,
}

impl PlainVisitor<'_> {
    /// Names that the library treats in a way of their own.
    fn is_special(name: &str) -> bool {
        name == "message" || name.starts_with("log.") || name.starts_with("r#")
    }

    fn as_the_library(&mut self, field: &Field, record: impl FnOnce(&mut DefaultVisitor<'_>)) {
        if self.result.is_ok() {
            let mut visitor = DefaultVisitor::new(self.writer.by_ref(), self.is_empty);
            record(&mut visitor);
            self.result = visitor.finish();
            self.is_empty &= field.name().starts_with("log.");
        }
    }

    fn parts(&mut self, parts: [&str; 4]) -> fmt::Result {
        if !std::mem::take(&mut self.is_empty) {
            self.writer.write_char(' ')?;
        }
        parts.into_iter().try_for_each(|part| self.writer.write_str(part))
    }
}

impl Visit for PlainVisitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        // What `Debug` would write as it is. It does not end at the first other byte, so that it can be vectorised.
        let is_plain = |b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\';
        let is_plain = value.bytes().fold(true, |so_far, b| so_far & is_plain(b));
        if is_plain && !Self::is_special(field.name()) {
            if self.result.is_ok() {
                self.result = self.parts([field.name(), "=\"", value, "\""]);
            }
        } else if field.name() == "message" {
            self.record_debug(field, &format_args!("{value}"));
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        // An attempt has its number in its span, which is mostly a small one.
        match DIGITS.get(usize::try_from(value).unwrap_or(usize::MAX)) {
            Some(digit) if !Self::is_special(field.name()) => {
                if self.result.is_ok() {
                    self.result = self.parts([field.name(), "=", digit, ""]);
                }
            }
            _ => self.record_debug(field, &value),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.as_the_library(field, |visitor| visitor.record_error(field, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.as_the_library(field, |visitor| visitor.record_debug(field, value));
    }
}

/// What is let through. `EnvFilter` alone knows exceptions by spans and their fields, and looks each span up under a lock
/// when it is entered, left and closed; without such an exception `Targets` says the same and keeps nothing.
fn filter<S: Subscriber + for<'span> LookupSpan<'span>>(
    text: &str,
) -> Result<Box<dyn Layer<S> + Send + Sync>, String> {
    let unreadable = |error: &dyn Error| {
        format!(
            "log.filter {text:?} cannot be read: {error}; write a level, and exceptions behind it: info,tidegate::store=debug"
        )
    };
    let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    if parts.is_empty() || text.contains('[') {
        return Ok(EnvFilter::try_new(text).map_err(|error| unreadable(&error))?.boxed());
    }
    Ok(parts.join(",").parse::<Targets>().map_err(|error| unreadable(&error))?.boxed())
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Where a test's lines go.
    #[derive(Debug, Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A span and two lines with everything that a field can be.
    fn speak() {
        let span =
            tracing::info_span!("attempt", flow = "f-1", event = "a \"b\"\\ \n\u{1b}[31mü", attempt = 3_u32);
        let _in_span = span.enter();
        let error = io::Error::other("no \u{1b}[31m room");
        tracing::info!(ran = 12_u64, id = "x y", due = ?Some(1), at = %"plain", is = true, "a \"message\" \u{1b}[31m");
        tracing::warn!(error = &error as &dyn Error, "");
    }

    #[test]
    fn lines_are_those_that_the_library_writes() {
        let (ours, library) = (Lines::default(), Lines::default());
        let writer = |lines: &Lines| {
            let lines = lines.clone();
            move || lines.clone()
        };
        let build = || tracing_subscriber::fmt().with_ansi(false).without_time();

        let plain = build().fmt_fields(PlainFields).with_writer(writer(&ours)).finish();
        tracing::subscriber::with_default(plain, speak);
        tracing::subscriber::with_default(build().with_writer(writer(&library)).finish(), speak);

        let text = |lines: &Lines| String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text(&ours), text(&library));
        assert!(text(&ours).contains("attempt{flow=\"f-1\" event="), "{}", text(&ours));
    }

    #[test]
    fn a_filter_lets_through_what_the_library_s_own_would() {
        let said = |filter: Box<dyn Layer<_> + Send + Sync>| {
            let lines = Lines::default();
            let writer = {
                let lines = lines.clone();
                move || lines.clone()
            };
            let told = tracing_subscriber::fmt::layer().without_time().with_ansi(false).with_writer(writer);
            let told = tracing_subscriber::registry().with(told).with(filter);
            let hint = told.max_level_hint();
            tracing::subscriber::with_default(told, || {
                let _in_span =
                    tracing::info_span!(target: "tidegate::delivery", "attempt", flow = "f-1").entered();
                tracing::error!(target: "tidegate::store", "one");
                tracing::info!(target: "tidegate::store::view", "two");
                tracing::debug!(target: "tidegate::delivery", "three");
                tracing::trace!(target: "other", "four");
            });
            (String::from_utf8(lines.0.lock().unwrap().clone()).unwrap(), hint)
        };
        for (text, lines) in [
            ("info", 2),
            ("warn,tidegate::store=debug", 2),
            ("error,tidegate::delivery=debug,", 2),
            ("off,tidegate=info", 2),
            ("TRACE", 4),
            ("tidegate::store", 2),
            ("", 0),
            ("off", 0),
            ("error,[attempt]=trace", 4),
        ] {
            let ours = said(filter(text).unwrap());
            assert_eq!(ours, said(EnvFilter::try_new(text).unwrap().boxed()), "{text}");
            assert_eq!(ours.0.lines().count(), lines, "{text}: {}", ours.0);
        }
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_refused_by_name() {
        let read = |text: &str| filter::<tracing_subscriber::Registry>(text).map(drop);
        assert!(read(&LogSettings::default().filter).is_ok());
        assert!(read("info, tidegate::store=debug").is_ok());
        for text in ["tidegate=loud", "info,[attempt{=debug"] {
            assert!(read(text).unwrap_err().contains(text));
        }
    }
}
