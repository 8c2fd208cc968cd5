//! Failing disk (R6): the Nth write or sync of the data folder answers EIO, once, in the real server.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::app::Tuning;
use crate::check::Expect;
use crate::power::compile;
use crate::report::Report;
use crate::serving::{Serving, is_under};
use crate::site::{Ended, Site};
use crate::time::{Watch, nanos, until};
use crate::{Outcome, power, say};

const FAULT: &str = include_str!("native/fault.c");
/// How long it may take to end or to refuse after the failure.
const WITHIN: Duration = Duration::from_secs(1);
/// What the scheduler of a busy machine may add to that.
const SLACK: Duration = Duration::from_millis(500);
/// How long the load may take to come to the Nth call.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a payload.
const SIZE: usize = 2 << 10;
/// Small, so that all kinds of files are among the first calls; each second time with files whose room is written ahead.
const fn tuning(nth: u64) -> Tuning {
    let segment = if nth.is_multiple_of(2) { 64 } else { 8 << 10 };
    Tuning { segment, checkpoint: 16, retention: 1, reserve: 0 }
}

/// Lets the 1st to the `count`th write fail, and the syncs too.
pub(crate) fn run(count: u64, seed: u64, report: &mut Report) -> Outcome<()> {
    if let Some(what) = power::missing() {
        report.left_out(&format!("failing disks (R6): they need {what}"));
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    compile(FAULT, &folder.path().join("fault.so"), &["-shared", "-fPIC", "-ldl"])?;
    for kind in ["write", "sync"] {
        let watch = Watch::start();
        let (mut hit, mut at_start, mut forgotten, mut broken) = (0, 0, 0, Vec::new());
        for nth in 1..=count {
            let told = one(&folder, kind, nth)?;
            hit += u64::from(told.is_hit);
            at_start += u64::from(told.is_at_start);
            forgotten += u64::from(told.is_forgotten);
            broken.extend(told.broken.into_iter().map(|what| format!("{kind} {nth}: {what}")));
        }
        let what = format!(
            "{kind} 1 to {count}: {hit} failed, {at_start} at a start that was refused, {forgotten} forgotten by sled"
        );
        report.row("R6", "failing disk", &what, seed, watch.elapsed(), broken);
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Told {
    is_hit: bool,
    is_at_start: bool,
    /// sled has kept it to itself; nothing acknowledged stands on it.
    is_forgotten: bool,
    broken: Vec<String>,
}

fn one(folder: &TempDir, kind: &str, nth: u64) -> Outcome<Told> {
    let site = Site::new(SIZE, false)?;
    let mark = site.oracle().join("fault");
    let mut told = Told::default();
    let serving = Serving::start(&site, tuning(nth), |command| {
        command
            .env("LD_PRELOAD", folder.path().join("fault.so"))
            .env("SOAK_FAULT_DIR", site.data())
            .env("SOAK_FAULT_KIND", kind)
            .env("SOAK_FAULT_AT", nth.to_string())
            .env("SOAK_FAULT_MARK", &mark);
    });
    match serving {
        // It refuses to start, which is the best that it can do.
        Err(error) if mark.exists() => {
            (told.is_hit, told.is_at_start) = (true, true);
            say(&format!("   {kind} {nth}: {error}"));
        }
        Err(error) => return Err(error),
        Ok(serving) => {
            let is_early = mark.exists();
            under_load(serving, &site, (&mark, is_early), &mut told)?;
        }
    }
    told.broken.extend(site.restart_and_check(Expect { retention: true, later_done: false })?);
    Ok(told)
}

/// Publishes until it fails, and looks how it takes that.
fn under_load(
    mut serving: Serving,
    site: &Site,
    (mark, is_early): (&Path, bool),
    told: &mut Told,
) -> Outcome<()> {
    let load = serving.load(site, SIZE, 1)?;
    let failed = until("the disk fails", PATIENCE, || Ok(mark.exists().then_some(())));
    if failed.is_err() {
        told.broken.push("the load never came so far".to_owned());
        load.stop()?;
        return Ok(());
    }
    told.is_hit = true;
    let is_sled = |path: &str| is_under(path, &site.data().join("sled"));
    let text = until("the mark of the fault reads", PATIENCE, || {
        let text = std::fs::read_to_string(mark)?;
        Ok(text.ends_with('\n').then_some(text))
    })?;
    let mut words = text.trim().splitn(3, ' ');
    let (Some(at), Some(call), Some(path)) = (words.next(), words.next(), words.next()) else {
        return Err(format!("the mark of the fault does not read: {text:?}").into());
    };
    let at: u64 = at.parse()?;
    let ended = until("the server ends", WITHIN * 4, || serving.ended());
    let took = Duration::from_nanos(nanos().saturating_sub(at));
    let answers = load.stop()?;
    let after: Vec<u64> =
        answers.iter().filter(|a| a.status == 202 && a.began > at).map(|a| (a.at - at) / 1_000_000).collect();
    let is_journal = is_under(path, &site.data().join("journal"));
    if is_journal && !after.is_empty() {
        told.broken.push(format!(
            "{} acknowledged after the journal failed ({path}), the last after {:?} ms",
            after.len(),
            after.last()
        ));
    }
    match ended {
        // A failed checkpoint touches nothing that was acknowledged, and is noticed at the next look at it.
        Ok(Ended::Failed(_)) if took <= WITHIN + SLACK || !is_journal => {}
        Ok(Ended::Failed(_)) => told.broken.push(format!("it took {took:?} to end ({path})")),
        Ok(other) => told.broken.push(format!("{other} ({path})")),
        // What sled's flusher meets it keeps to itself: the next checkpoint syncs (`fdatasync`) by a handle of the
        // store's, which a real error would reach.
        Err(_) if is_sled(path) && (is_early || ["sync_file_range", "fsync"].contains(&call)) => {
            told.is_forgotten = true;
        }
        Err(error) => told.broken.push(format!("{error} ({call} of {path})")),
    }
    Ok(())
}
