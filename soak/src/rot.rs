//! Bit rot (R4): random damage to the files of a store that nobody has open, then a start.
//!
//! Each damage has to be harmless, repaired from the journal, or told with its place: at the start, or when what
//! it hit is read. What is acknowledged and wrong without a word is silent damage, of which there may be none.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::check::{Expect, Violation, check};
use crate::dice::Dice;
use crate::report::Report;
use crate::site::{Ended, Site};
use crate::time::Watch;
use crate::work::books;
use crate::{Outcome, say};

/// How long a damaged store may take to say something.
const PATIENCE: Duration = Duration::from_mins(4);
/// Milliseconds without a change after which its subscriptions are taken for stopped.
const REST: &str = "5000";
/// Words that name a place in the data folder.
const PLACES: [&str; 5] = [".journal", "/sled", "checkpoint.mark", "fold-", "/journal"];

/// How a store came to lie there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Past {
    /// Closed in order, everything since the beginning in its journal.
    Whole,
    /// Closed in order, the beginning of its journal removed.
    Shortened,
    /// Left in the middle of a checkpoint: a fold file, and half of it in sled.
    Torn,
}

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    Flip,
    Zero,
    Cut,
    Delete,
}

/// What came of one damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Harmless,
    Rebuilt,
    Refused,
    Told,
    Silent,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Harmless => "harmless",
            Self::Rebuilt => "rebuilt",
            Self::Refused => "refused at the start",
            Self::Told => "told when read",
            Self::Silent => "SILENT",
        })
    }
}

/// A store that was left, to be copied and damaged.
struct Template {
    past: Past,
    site: Site,
}

/// Damages a store `count` times.
pub(crate) fn run(count: u64, seed: u64, report: &mut Report) -> Outcome<()> {
    let mut dice = Dice::new(seed);
    let templates =
        [Past::Whole, Past::Shortened, Past::Torn].into_iter().map(template).collect::<Outcome<Vec<_>>>()?;
    control(&templates, seed, report)?;
    for (at, template) in templates.iter().enumerate() {
        let watch = Watch::start();
        let mut fates: BTreeMap<Fate, u64> = BTreeMap::new();
        let mut violations = Vec::new();
        let rounds = (at as u64..count).step_by(templates.len()).count();
        for _ in 0..rounds {
            let (fate, what) = one(template, &mut dice)?;
            *fates.entry(fate).or_default() += 1;
            if fate == Fate::Silent {
                say(&format!("   {:?}: {what}", template.past));
                violations.push(what);
            }
        }
        let counts: Vec<String> = fates.iter().map(|(fate, count)| format!("{count} {fate}")).collect();
        let what = format!("{:?} store: {rounds} damages: {}", template.past, counts.join(", "));
        report.row("R4", "bit rot", &what, seed, watch.elapsed(), violations);
    }
    Ok(())
}

/// Lets a store come to lie there.
fn template(past: Past) -> Outcome<Template> {
    let site = Site::new(300, past != Past::Shortened)?;
    let keep: &[&str] = if past == Past::Shortened { &[] } else { &["--retention", "86400"] };
    let live = |more: &[&str]| site.work(&[keep, more].concat())?.wait(PATIENCE);
    match past {
        Past::Whole => ended_well(&live(&["--publish", "3000"])?)?,
        Past::Shortened => ended_well(&live(&["--publish", "6000"])?)?,
        Past::Torn => {
            ended_well(&live(&["--publish", "1500"])?)?;
            let ended = live(&["--publish", "9000", "--fail", "fold-row:20"])?;
            // Without fail points it ends in order, and there is one store more of the first kind.
            if !matches!(ended, Ended::Aborted | Ended::Failed(_)) {
                return Err(format!("the template: {ended}").into());
            }
        }
    }
    Ok(Template { past, site })
}

fn ended_well(ended: &Ended) -> Outcome<()> {
    if *ended == Ended::Well { Ok(()) } else { Err(format!("the template: {ended}").into()) }
}

/// Copies the template, damages the copy, starts on it.
fn one(template: &Template, dice: &mut Dice) -> Outcome<(Fate, String)> {
    let (site, _room) = copy(template)?;
    let what = damage(template.past, site.data(), dice)?;
    let (fate, why) = fate(template.past, &site)?;
    Ok((fate, format!("{what}: {why}")))
}

/// A copy in memory where there is such a file system: there are many.
fn copy(template: &Template) -> Outcome<(Site, TempDir)> {
    let memory = Path::new("/dev/shm");
    let mut room = tempfile::Builder::new();
    room.prefix("tidegate-rot-");
    let room = if memory.is_dir() { room.tempdir_in(memory)? } else { room.tempdir()? };
    let site = Site::on(room.path().join("data"), 300, true)?;
    copy_folder(template.site.data(), site.data())?;
    for file in ["acknowledged", "ledger"] {
        fs::copy(template.site.oracle().join(file), site.oracle().join(file))?;
    }
    Ok((site, room))
}

fn copy_folder(from: &Path, to: &Path) -> Outcome<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// Starts on a damaged store and sees what it makes of it.
fn fate(past: Past, site: &Site) -> Outcome<(Fate, String)> {
    let retention = if past == Past::Shortened { "1" } else { "86400" };
    let args = ["--publish", "0", "--resume", "--rest", REST, "--retention", retention];
    let mut working = site.work(&args)?;
    let ended = crate::time::until("a child ends", PATIENCE, || working.ended());
    let names_a_place = |log: &str| PLACES.iter().any(|place| log.contains(place));
    match ended {
        Ok(Ended::Well) => {}
        Ok(Ended::Failed(log)) if names_a_place(&log) => return Ok((Fate::Refused, log)),
        Ok(other) => return Ok((Fate::Silent, other.to_string())),
        Err(error) => return Ok((Fate::Silent, error.to_string())),
    }
    let (acked, effects, observed) = books(site.oracle())?;
    let expect = Expect { retention: past == Past::Shortened, later_done: true };
    let broken = check(&acked, &effects, &observed, expect);
    let log = working.log();
    // Who cannot go on and says where the damage is, has told it. Who answers wrongly has not.
    let line =
        |line: &str| line.contains("damaged at byte") && !line.contains("moved aside") && names_a_place(line);
    let is_told = !observed.told.is_empty() || log.split(" / ").any(line);
    let is_wrong = broken.iter().any(|broken| !matches!(broken, Violation::Stuck(_)));
    let listed: Vec<String> = broken.iter().take(3).map(ToString::to_string).collect();
    let is_rebuilt = fs::read_dir(site.data())?
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().contains(".damaged-"));
    Ok(match (broken.is_empty(), is_wrong || !is_told) {
        (false, true) => {
            (Fate::Silent, format!("{} broken: {} (log: {log})", broken.len(), listed.join(", ")))
        }
        (false, false) => (Fate::Told, log),
        (true, _) if is_told => (Fate::Told, observed.told.join(", ")),
        (true, _) if is_rebuilt => (Fate::Rebuilt, log),
        (true, _) => (Fate::Harmless, String::new()),
    })
}

/// Damages one file, and says how.
fn damage(past: Past, data: &Path, dice: &mut Dice) -> Outcome<String> {
    let files = targets(past, data)?;
    // Each kind of file as often as another, whatever the number of its files.
    let kinds: Vec<&Vec<PathBuf>> = files.values().collect();
    let file = dice.pick(&kinds).and_then(|kind| dice.pick(kind)).ok_or("there is nothing to damage")?;
    let name = file.strip_prefix(data)?.display().to_string();
    let used = used(file)?;
    let all = [Damage::Flip, Damage::Flip, Damage::Flip, Damage::Zero, Damage::Cut, Damage::Delete];
    let damage = dice.pick(&all).copied().unwrap_or(Damage::Flip);
    match damage {
        Damage::Delete => fs::remove_file(file)?,
        Damage::Cut => {
            let to = dice.roll(used.max(1));
            OpenOptions::new().write(true).open(file)?.set_len(to)?;
            return Ok(format!("{name} cut to {to} of {used} bytes"));
        }
        Damage::Flip => {
            let (at, bit) = (dice.roll(used.max(1)), dice.roll(8));
            let open = OpenOptions::new().read(true).write(true).open(file)?;
            let mut byte = [0];
            open.read_exact_at(&mut byte, at)?;
            open.write_all_at(&byte.map(|byte| byte ^ (1 << bit)), at)?;
            return Ok(format!("{name}: bit {bit} of byte {at} of {used} flipped"));
        }
        Damage::Zero => {
            let block = if dice.roll(2) == 0 { 512 } else { 4_096 };
            let at = dice.roll(used.div_ceil(block).max(1)) * block;
            let len = usize::try_from(block.min(fs::metadata(file)?.len() - at))?;
            OpenOptions::new().write(true).open(file)?.write_all_at(&vec![0; len], at)?;
            return Ok(format!("{name}: {len} bytes at {at} of {used} zeroed"));
        }
    }
    Ok(format!("{name} deleted"))
}

/// The files of a store by kind. After a crash nobody can tell damage to the last write from a write that was torn
/// by the crash, so the last journal file is left alone then.
fn targets(past: Past, data: &Path) -> Outcome<BTreeMap<&'static str, Vec<PathBuf>>> {
    let mut found: BTreeMap<&'static str, Vec<PathBuf>> = BTreeMap::new();
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let kind = match name.as_str() {
                _ if path.is_dir() => {
                    folders.push(path);
                    continue;
                }
                "lock" => continue,
                "db" => "sled's pages",
                "conf" => "sled's settings",
                _ if name.ends_with(".journal") => "journal",
                _ if name.starts_with("snap") => "sled's snapshots",
                _ if name.starts_with("fold-") => "fold file",
                _ => "mark and others",
            };
            found.entry(kind).or_default().push(path);
        }
    }
    if let (Past::Torn, Some(journal)) = (past, found.get_mut("journal")) {
        journal.sort();
        journal.pop();
    }
    found.retain(|_, files| !files.is_empty());
    Ok(found)
}

/// Where the last byte that is not zero stands: files are preallocated.
fn used(file: &Path) -> Outcome<u64> {
    let bytes = fs::read(file)?;
    Ok(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1))
}

/// An oracle that was tampered with must be told from a sound one: a harness that finds nothing proves nothing.
fn control(templates: &[Template], seed: u64, report: &mut Report) -> Outcome<()> {
    let watch = Watch::start();
    let mut violations = Vec::new();
    for template in templates {
        let (site, _room) = copy(template)?;
        let (sound, why) = fate(template.past, &site)?;
        if sound != Fate::Harmless {
            violations.push(format!("the harness is no good: without damage: {sound}: {why}"));
        }
        let (site, _room) = copy(template)?;
        // An event that was never published: what a store that lost one looks like.
        let record = File::options().append(true).open(site.oracle().join("acknowledged"))?;
        let line =
            "{\"id\":\"k0-0-7777\",\"key\":\"k0-0\",\"n\":7777,\"size\":300,\"later\":false,\"began\":0}\n";
        record.write_all_at(line.as_bytes(), record.metadata()?.len())?;
        let (lost, _) = fate(template.past, &site)?;
        if lost != Fate::Silent {
            violations.push(format!("the harness is no good: a lost event is {lost}"));
        }
    }
    let what = "no damage: harmless; an event that is not there: silent; three stores";
    report.row("R4", "bit rot, control", what, seed, watch.elapsed(), violations);
    Ok(())
}
