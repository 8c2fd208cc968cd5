//! Power cuts (R3): the real runtime on a disk that loses everything that was not synced.

mod control;
mod disk;

use std::time::Duration;

pub(crate) use control::{ControlArgs, control};
pub(crate) use disk::{compile, missing, run as tool};

use crate::check::Expect;
use crate::dice::Dice;
use crate::report::Report;
use crate::site::Site;
use crate::time::{Watch, pause};
use crate::{Outcome, say};
use control::{Promise, lost};
use disk::Disk;

/// Payloads, in bytes.
const SIZES: [usize; 5] = [100, 8 << 10, 20 << 10, 200 << 10, 1 << 20];
/// Cuts of one disk before a fresh one: later ones meet a store that has been through some.
const CUTS: u64 = 5;
/// How long a child may take until it is at rest.
const PATIENCE: Duration = Duration::from_mins(4);

/// Cuts the power `count` times, spread over all sizes.
pub(crate) fn run(count: u64, seed: u64, report: &mut Report) -> Outcome<()> {
    if let Some(what) = missing() {
        report.left_out(&format!("power cuts (R3): they need {what}"));
        return Ok(());
    }
    controls(seed, report)?;
    let mut dice = Dice::new(seed);
    for (at, size) in SIZES.into_iter().enumerate() {
        let cuts = share(count, at);
        let watch = Watch::start();
        let (mut acked, mut early, mut violations) = (0, 0, Vec::new());
        let mut left = cuts;
        while left > 0 {
            let here = left.min(CUTS);
            left -= here;
            let told = one_disk(size, here, left.is_multiple_of(2), &mut dice)?;
            acked += told.acked;
            early += told.early;
            violations.extend(told.violations);
        }
        let what = format!("{size} B: {cuts} cuts ({early} while starting), {acked} acknowledged");
        report.row("R3", "power cut", &what, seed, watch.elapsed(), violations);
    }
    Ok(())
}

/// An even part of `count`; the first sizes get what is left over.
fn share(count: u64, at: usize) -> u64 {
    let (all, at) = (SIZES.len() as u64, at as u64);
    count / all + u64::from(at < count % all)
}

/// What a disk has been through.
#[derive(Debug, Default)]
struct Told {
    acked: usize,
    /// Cuts before the process was up.
    early: u64,
    violations: Vec<String>,
}

fn one_disk(size: usize, cuts: u64, pins: bool, dice: &mut Dice) -> Outcome<Told> {
    let disk = Disk::new()?;
    let site = Site::on(disk.root().join("deep/data"), size, pins)?;
    let mut told = Told::default();
    let expect = Expect { retention: true, later_done: false };
    for cut in 0..cuts {
        let seed = dice.next().to_string();
        let mut working = site.work(&["--seed", &seed])?;
        // Many cuts find it at its start: the first creation of everything, or the recovery.
        let is_early = dice.roll(4) == 0;
        if is_early {
            told.early += 1;
            pause(Duration::from_micros(dice.roll(60_000)));
        } else {
            if working.line(PATIENCE).is_none() {
                told.violations.push(format!("cut {cut}: it does not come to rest: {}", working.log()));
                break;
            }
            told.violations.extend(site.broken(expect)?.into_iter().map(|what| format!("cut {cut}: {what}")));
            let life = Duration::from_millis(dice.roll(1_500));
            // Also for the rare case that it ends by itself: that is told.
            let watch = Watch::start();
            while watch.elapsed() < life {
                if let Some(ended) = working.ended()? {
                    told.violations.push(format!("cut {cut}: before the cut {ended}"));
                    break;
                }
                pause(Duration::from_millis(5));
            }
        }
        working.freeze()?;
        disk.cut()?;
        working.kill()?;
        disk.restart()?;
    }
    let broken = site.restart_and_check(expect)?;
    told.violations.extend(broken.into_iter().map(|what| format!("after {cuts} cuts: {what}")));
    told.acked = site.acked()?;
    let verdict = if told.violations.is_empty() { "nothing lost" } else { "BROKEN" };
    say(&format!("   {size} B, {cuts} cuts, {} early, {} acknowledged: {verdict}", told.early, told.acked));
    Ok(told)
}

/// Writers that promise too much must be caught, one that does not must not.
fn controls(seed: u64, report: &mut Report) -> Outcome<()> {
    let wanted =
        [(Promise::Plain, true), (Promise::Sled, true), (Promise::Synced, false), (Promise::Reserved, false)];
    for (promise, must_lose) in wanted {
        let watch = Watch::start();
        let (mut cuts, mut gone, mut all) = (0, 0, 0);
        // One cut may come in a lucky moment; three do not.
        while cuts < 3 && (gone == 0 || !must_lose) {
            let (lost, acked) = lost(promise, 50 + 50 * (cuts % 7))?;
            cuts += 1;
            gone += lost;
            all += acked;
        }
        let what = format!("{promise:?}: {cuts} cuts, {gone} of {all} acknowledged lost");
        let mut violations = Vec::new();
        if (gone > 0) != must_lose || all == 0 {
            let should = if must_lose { "it had to lose something" } else { "it had to keep everything" };
            violations.push(format!("the harness is no good: {should}"));
        }
        report.row("R3", "power cut, control", &what, seed, watch.elapsed(), violations);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Ended;
    use crate::time::until;

    #[test]
    fn the_shares_make_the_whole() {
        for count in [1, 20, 23, 500] {
            assert_eq!((0..SIZES.len()).map(|at| share(count, at)).sum::<u64>(), count);
        }
    }

    #[test]
    fn a_child_that_aborts_is_told_from_one_that_fails() {
        let folder = tempfile::tempdir().unwrap();
        let end = |script: &str| {
            let mut command = std::process::Command::new("sh");
            let working =
                crate::site::Working::start(command.arg("-c").arg(script), &folder.path().join("log"));
            working.unwrap().wait(Duration::from_secs(20)).unwrap()
        };

        assert_eq!(end("exit 0"), Ended::Well);
        assert_eq!(end("kill -ABRT $$"), Ended::Aborted);
        assert_eq!(end("echo no >&2; exit 3"), Ended::Failed("no".into()));
    }

    #[test]
    fn until_gives_up_in_the_end() {
        assert!(until::<()>("never", Duration::from_millis(1), || Ok(None)).is_err());
    }
}
