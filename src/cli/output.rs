//! Output: the one place that writes to standard output and standard error.

use std::borrow::Cow;
use std::io::{IsTerminal as _, Write as _};

use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;

use super::failure::{Exit, Failure};

/// How things are printed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    /// Whether standard output holds one JSON document instead of text for people.
    pub(super) is_json: bool,
    /// The colours of standard output.
    pub(super) paint: Paint,
}

/// Colours, or none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Paint {
    is_on: bool,
}

/// What a colour means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// It went well.
    Good,
    /// It waits or runs.
    Busy,
    /// It failed.
    Bad,
    /// It matters less.
    Faint,
    /// It matters more.
    Strong,
}

impl Paint {
    /// No colours.
    #[cfg(test)]
    pub(super) const PLAIN: Self = Self { is_on: false };

    /// `text` in the colour of `tone`.
    pub(super) fn tint(self, tone: Tone, text: &str) -> String {
        if !self.is_on {
            return text.to_owned();
        }
        let style = match tone {
            Tone::Good => Style::new().fg_color(Some(AnsiColor::Green.into())),
            Tone::Busy => Style::new().fg_color(Some(AnsiColor::Yellow.into())),
            Tone::Bad => Style::new().fg_color(Some(AnsiColor::Red.into())),
            Tone::Faint => Style::new().dimmed(),
            Tone::Strong => Style::new().bold(),
        };
        format!("{style}{text}{style:#}")
    }
}

impl Output {
    /// Output as the arguments want it; colours only on a terminal.
    pub(super) fn new(is_json: bool, is_plain: bool) -> Self {
        let is_on = !is_json && !is_plain && std::io::stdout().is_terminal();
        Self { is_json, paint: Paint { is_on } }
    }

    /// Prints bytes as they are.
    ///
    /// That the reader has closed the pipe is no failure of ours (`tidegate flow … | head`).
    #[expect(clippy::unused_self, reason = "whoever prints holds an Output")]
    pub(super) fn raw(self, bytes: &[u8]) {
        let mut out = std::io::stdout().lock();
        let _closed_pipe = out.write_all(bytes).and_then(|()| out.flush());
    }

    /// Prints a text and ends its line.
    pub(super) fn text(self, text: &str) {
        self.raw(format!("{}\n", text.trim_end_matches('\n')).as_bytes());
    }

    /// Prints a JSON document.
    pub(super) fn document(self, document: &impl Serialize) {
        match serde_json::to_string_pretty(document) {
            Ok(text) => self.text(&text),
            Err(error) => self.note(&format!("cannot write the answer as JSON: {error}")),
        }
    }

    /// Prints for people on standard error, in every mode.
    #[expect(clippy::unused_self, reason = "whoever prints holds an Output")]
    pub(super) fn note(self, text: &str) {
        let mut err = std::io::stderr().lock();
        let _closed_pipe = writeln!(err, "{text}");
    }

    /// Tells a failure: to people on standard error, to scripts as a document. Returns how the process ends.
    pub(super) fn failure(self, failure: &Failure) -> Exit {
        if self.is_json {
            self.document(&failure.to_problem());
        } else {
            self.note(&format!("error: {}", clean(&failure.to_string())));
        }
        failure.exit()
    }
}

/// A text from elsewhere, made harmless for a terminal: control characters are shown, not sent, so that a
/// publisher's payload or a step's message cannot move the reader's cursor. Line breaks stay.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    let is_harmful = |c: char| c.is_control() && c != '\n';
    if text.contains(is_harmful) {
        text.chars().map(|c| if is_harmful(c) { c.escape_default().to_string() } else { c.into() }).collect()
    } else {
        Cow::Borrowed(text)
    }
}

/// Like [`clean`], on one line.
pub(super) fn clean_line(text: &str) -> String {
    clean(text).split('\n').map(str::trim).collect::<Vec<_>>().join(" ")
}

/// Rows in columns, with a head; the last column is not padded.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(&mut head.iter().copied())];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

/// `count` and the word for it: `1 event`, `2 events`.
pub(super) fn plural(count: u64, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}
