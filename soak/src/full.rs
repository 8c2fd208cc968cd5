//! Full disk (R5): a server on 64 MiB of its own, filled by its events, filled to the last byte by somebody else, and started on a
//! disk that is full.

use std::time::Duration;

use crate::app::Tuning;
use crate::check::Expect;
use crate::report::Report;
use crate::serving::{Answer, Load, Room, Serving};
use crate::site::{Ended, Site};
use crate::time::{Watch, nanos, pause, until};
use crate::{Outcome, power, say};

/// Bytes of the file system.
const MIB: u64 = 64;
/// Bytes of a payload.
const SIZE: usize = 8 << 10;
/// How long it may go on acknowledging once the disk is down to the reserve.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);
/// How long it may go on refusing once there is room.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);
/// How long the disk stays full: checkpoints and new journal files fall due meanwhile.
const FULL_FOR: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(30);

/// A journal file is 4 MiB, and 16 MiB are reserved.
const TUNING: Tuning = Tuning { segment: 4 << 10, checkpoint: 1 << 10, retention: 86_400, reserve: 16 << 10 };

/// Fills the disk in each way `count` times.
pub(crate) fn run(count: u64, seed: u64, report: &mut Report) -> Outcome<()> {
    if let Some(what) = power::missing() {
        report.left_out(&format!("full disks (R5): they need {what}"));
        return Ok(());
    }
    let ways: [(&str, Once); 3] = [
        ("by its events", || one(by_events)),
        ("to the last byte by others", || one(by_others)),
        ("before a start, after a kill", started_on_it),
    ];
    for (name, way) in ways {
        let watch = Watch::start();
        let mut told = Told::default();
        for _ in 0..count {
            let next = way()?;
            told = Told {
                acked: told.acked + next.acked,
                notes: next.notes,
                broken: [told.broken, next.broken].concat(),
            };
        }
        let what = format!("{name}: {count} times, {} acknowledged; {}", told.acked, told.notes);
        report.row("R5", "full disk", &what, seed, watch.elapsed(), told.broken);
    }
    Ok(())
}

/// Fills one in some way.
type Once = fn() -> Outcome<Told>;

/// A way to fill it while the server works.
type Way = fn(&Room, &Site, &mut Serving) -> Outcome<Told>;

#[derive(Debug, Default)]
struct Told {
    acked: usize,
    notes: String,
    broken: Vec<String>,
}

fn one(way: Way) -> Outcome<Told> {
    let room = Room::new(MIB)?;
    let site = Site::on(room.path().join("data"), SIZE, false)?;
    let mut serving = Serving::start(&site, TUNING, |_| ())?;
    let told = way(&room, &site, &mut serving)?;
    end(&site, serving, told)
}

/// The end in order, and the books.
fn end(site: &Site, mut serving: Serving, mut told: Told) -> Outcome<Told> {
    match serving.ended()? {
        Some(ended) => told.broken.push(format!("the server did not live through it: {ended}")),
        None => match serving.stop()? {
            Ended::Well => {}
            other => told.broken.push(format!("at SIGTERM: {other}")),
        },
    }
    told.broken
        .extend(site.check_with(Expect { retention: false, later_done: false }, &["--retention", "86400"])?);
    told.acked = site.acked()?;
    say(&format!("   {} acknowledged; {}; {} broken", told.acked, told.notes, told.broken.len()));
    Ok(told)
}

/// Its own events take all room down to the reserve; what was accepted comes to its end all the same.
fn by_events(room: &Room, site: &Site, serving: &mut Serving) -> Outcome<Told> {
    // Most of it is gone at the beginning, so that the test is not about patience.
    let filler = room.fill(32 << 20)?;
    let load = serving.load(site, SIZE, 1)?;
    let mut told = Told::default();
    load.until_status(507, 0, PATIENCE)?;
    stays_refused(serving, &load, &mut told);
    std::fs::remove_file(filler)?;
    finish(load, &mut told, nanos())?;
    Ok(told)
}

/// Somebody else takes everything, from one moment to the next.
fn by_others(room: &Room, site: &Site, serving: &mut Serving) -> Outcome<Told> {
    let load = serving.load(site, SIZE, 1)?;
    pause(Duration::from_millis(700));
    let mut told = Told::default();
    let filler = room.fill(0)?;
    let full = nanos();
    match load.until_status(507, full, PATIENCE) {
        Ok(at) => told.notes = format!("refused after {} ms", (at - full) / 1_000_000),
        Err(error) => told.broken.push(error.to_string()),
    }
    let late = full + u64::try_from(REFUSED_WITHIN.as_nanos())?;
    stays_refused(serving, &load, &mut told);
    let acked = load.answers().iter().filter(|answer| answer.began > late && answer.status == 202).count();
    if acked > 0 {
        told.broken
            .push(format!("{acked} acknowledged later than {REFUSED_WITHIN:?} after the disk was full"));
    }
    std::fs::remove_file(filler)?;
    finish(load, &mut told, nanos())?;
    Ok(told)
}

/// For a while nothing but refusals, and what was accepted comes to rest.
fn stays_refused(serving: &mut Serving, load: &Load, told: &mut Told) {
    let watch = Watch::start();
    let rested = until("what was accepted comes to rest", PATIENCE, || {
        if let Some(ended) = serving.ended()? {
            return Err(format!("the server ended: {ended}").into());
        }
        Ok((serving.backlog()? == 0).then_some(()))
    });
    if let Err(error) = rested {
        told.broken.push(format!("on the full disk: {error}"));
    }
    while watch.elapsed() < FULL_FOR {
        pause(Duration::from_millis(20));
    }
    let odd: Vec<Answer> =
        load.answers().into_iter().filter(|answer| ![202, 503, 507].contains(&answer.status)).collect();
    if let Some(first) = odd.first() {
        told.broken.push(format!("{} answers like {} in place of a refusal", odd.len(), first.status));
    }
}

/// It is killed while it works, others take all room, and it is started: whether it comes up or not, it harms nothing.
fn started_on_it() -> Outcome<Told> {
    let room = Room::new(MIB)?;
    let site = Site::on(room.path().join("data"), SIZE, false)?;
    let mut told = Told::default();
    // Twice: the second opening of sled has written the end of its segment already, so that the third one finds no room only
    // for the snapshot behind it.
    for first in [1, 10_000] {
        let serving = Serving::start(&site, TUNING, |_| ())?;
        let load = serving.load(&site, SIZE, first)?;
        pause(Duration::from_millis(300));
        load.stop()?;
        serving.kill()?;
    }
    let filler = room.fill(0)?;
    match Serving::start(&site, TUNING, |_| ()) {
        Ok(serving) => {
            "it came up".clone_into(&mut told.notes);
            serving.kill()?;
        }
        Err(refused) if refused.to_string().contains("No space left") => {
            "refused for want of room".clone_into(&mut told.notes);
        }
        Err(other) => told.broken.push(format!("refused in another way: {other}")),
    }
    std::fs::remove_file(filler)?;
    let serving = Serving::start(&site, TUNING, |_| ())?;
    if site.data().join("sled.damaged-1").exists() {
        told.broken.push("sled was damaged by the start on the full disk".to_owned());
    }
    end(&site, serving, told)
}

/// There is room again.
fn finish(load: Load, told: &mut Told, freed: u64) -> Outcome<()> {
    match load.until_status(202, freed, TAKEN_WITHIN) {
        Ok(at) => {
            let millis = (at - freed) / 1_000_000;
            let taken = format!("taken again after {millis} ms");
            told.notes = if told.notes.is_empty() { taken } else { format!("{}, {taken}", told.notes) };
        }
        Err(error) => told.broken.push(format!("with room again: {error}")),
    }
    pause(Duration::from_millis(300));
    load.stop()?;
    Ok(())
}
