//! `store verify`: is all that is on disk what was written, and does it fit together?

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::could_not;
use crate::bus::VerifyView;
use crate::cli::args::{ServerArgs, VerifyArgs};
use crate::cli::bar::{Stages, watched};
use crate::cli::client::{Client, JSON};
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Output, Tone, clean, plural};
use crate::store::{AffectedEvent, Finding, VerifyReport, verify_folder};

/// How often a server is asked how far it is.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Runs the command.
pub(super) fn verify(args: &VerifyArgs, output: Output) -> Result<Exit, Failure> {
    let report = match &args.dir {
        Some(dir) => offline(dir, args.scratch.as_deref())?,
        None => online(&args.server).map_err(|failure| failure.or_offline("tidegate store verify DIR"))?,
    };
    if output.is_json {
        output.document(&report);
    } else {
        output.text(&clean(&told(&report, output)));
    }
    Ok(Exit::yes(report.clean))
}

fn offline(dir: &Path, scratch: Option<&Path>) -> Result<VerifyReport, Failure> {
    let scratch = scratch.map_or_else(std::env::temp_dir, Path::to_owned);
    watched(|progress| verify_folder(dir, &scratch, progress))?.map_err(|error| could_not(&error))
}

fn online(server: &ServerArgs) -> Result<VerifyReport, Failure> {
    let client = Client::new(server)?;
    let stages = Stages::new();
    let mut view: VerifyView = client.post("/v1/store/verify", JSON, "{}")?.parse()?;
    loop {
        stages.show(&view.stage, view.done, view.total);
        if let Some(report) = view.report {
            return Ok(report);
        }
        if let Some(error) = view.error {
            return Err(Failure::Usage(error));
        }
        std::thread::park_timeout(LOOK_AGAIN);
        view = client.get("/v1/store/verify", None)?.parse()?;
    }
}

/// The report as people read it.
fn told(report: &VerifyReport, output: Output) -> String {
    let mut text = String::new();
    // Writing into a text cannot fail.
    let mut line = |line: String| {
        let _is_written = writeln!(text, "{line}").is_ok();
    };
    for finding in &report.findings {
        line(one(finding, output));
    }
    let untold = report.findings_total.saturating_sub(report.findings.len() as u64);
    if untold > 0 {
        line(format!("and {untold} more"));
    }
    for note in &report.notes {
        line(format!("note: {note}"));
    }
    let looked = format!(
        "looked at {} in {} ({} bytes) up to commit {}, {}, {}, {}, {}",
        plural(report.records, "journal record"),
        plural(report.segments, "segment"),
        report.journal_bytes,
        report.commit,
        plural(report.rows, "row"),
        plural(report.events, "event"),
        plural(report.flows, "flow"),
        match report.deliveries {
            1 => "1 open delivery".to_owned(),
            many => format!("{many} open deliveries"),
        }
    );
    line(looked);
    line(if report.clean {
        output.paint.tint(Tone::Good, "clean: all of it is what was written, and fits together")
    } else {
        output.paint.tint(Tone::Bad, &format!("DAMAGED: {}", plural(report.findings_total, "finding")))
    });
    text
}

fn one(finding: &Finding, output: Output) -> String {
    let at = finding.offset.map_or(String::new(), |offset| format!(", byte {offset}"));
    let mut text = format!(
        "{} {}{at}: {}\n  it means: {}",
        output.paint.tint(Tone::Bad, &finding.part),
        finding.file,
        finding.problem,
        finding.meaning
    );
    for event in &finding.events {
        let open = match event.open.join(", ") {
            none if none.is_empty() => none,
            some => format!(", open for {some}"),
        };
        let AffectedEvent { id, source, name, flow, .. } = event;
        // Writing into a text cannot fail.
        let _is_written = write!(text, "\n  event {id} of {source} ({name}), flow {flow}{open}").is_ok();
    }
    let untold = finding.events_total.saturating_sub(finding.events.len() as u64);
    if untold > 0 {
        let _is_written = write!(text, "\n  and {} more", plural(untold, "event")).is_ok();
    }
    text + "\n  = " + &finding.remedy
}
