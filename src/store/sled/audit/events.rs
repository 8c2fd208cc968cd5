//! Events and flows: what an event says of its deliveries, the queues say too, and a flow counts them right.

use super::{Notebook, PAGE, Scene};
use crate::store::verify::{AffectedEvent, Finding, Progress};
use crate::store::{EventRecord, Reader as _, Seq, StoreError};

/// Events looked at under one lock.
const LOCKED: usize = 16;
const UNREADABLE: &str = "its status and its flow cannot be told";

/// Looks at the bookkeeping of every event.
pub(super) fn check(scene: &Scene, progress: &Progress, notes: &mut Notebook) -> Result<(), StoreError> {
    let stored = scene.shared.stats().events;
    progress.begin("events", stored);
    let mut from = Seq(1);
    loop {
        progress.check()?;
        let page = match scene.shared.events_from(from, PAGE) {
            Err(StoreError::Damaged { .. }) => one_by_one(scene, from, notes)?,
            other => other?,
        };
        let next = match page.last() {
            Some(last) => Seq(last.seq.0 + 1),
            // A page may be empty because each of its rows is damaged.
            None if from.0 + (PAGE as u64) <= stored => Seq(from.0 + PAGE as u64),
            None => break,
        };
        for some in page.chunks(LOCKED) {
            look(scene, some, notes)?;
        }
        progress.add(next.0 - from.0);
        from = next;
    }
    Ok(())
}

/// A page in which a row is damaged: the others of it.
fn one_by_one(scene: &Scene, from: Seq, notes: &mut Notebook) -> Result<Vec<EventRecord>, StoreError> {
    let mut found = Vec::new();
    let stored = scene.shared.stats().events;
    for seq in (from.0..from.0 + PAGE as u64).take_while(|seq| *seq <= stored) {
        match scene.shared.event(Seq(seq)) {
            Ok(record) => found.extend(record),
            Err(error @ StoreError::Damaged { .. }) => unreadable(scene, Seq(seq), &error, notes)?,
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Names an event whose bookkeeping cannot be read, by its payload. One that had expired was not in what is damaged.
fn unreadable(scene: &Scene, seq: Seq, error: &StoreError, notes: &mut Notebook) -> Result<(), StoreError> {
    notes.add(Finding::of("events", error, UNREADABLE));
    let Ok(Some(event)) = scene.shared.envelope(seq) else { return Ok(()) };
    // Where its flow cannot be read either, nobody knows that it had expired.
    if scene.shared.view()?.must_be_there(seq, &event.flow).unwrap_or(true) {
        notes.touch(error, seq, AffectedEvent::of_envelope(&event));
    }
    Ok(())
}

/// What was read for an event; damage is taken down, with the event for whoever names it later.
fn read_for<T>(
    record: &EventRecord,
    part: &str,
    found: Result<T, StoreError>,
    hurt: &mut Vec<(EventRecord, StoreError)>,
    notes: &mut Notebook,
) -> Result<Option<T>, StoreError> {
    match found {
        Err(error @ StoreError::Damaged { .. }) => {
            notes.add(Finding::of(part, &error, UNREADABLE));
            hurt.push((record.clone(), error));
            Ok(None)
        }
        other => other.map(Some),
    }
}

/// Looks at some events under one lock of the view: with a lock for each, a busy writer is waited for at each.
fn look(scene: &Scene, records: &[EventRecord], notes: &mut Notebook) -> Result<(), StoreError> {
    let view = scene.shared.view()?;
    let (mut wrong, mut hurt) = (Vec::new(), Vec::new());
    for record in records {
        // The event may have moved since its page was read.
        let now = read_for(record, "events", view.event(record.seq), &mut hurt, notes)?;
        let Some(Some(record)) = now else { continue };
        notes.report.events += 1;
        let problems = read_for(&record, "events", view.wrong_with_event(&record), &mut hurt, notes)?;
        for problem in problems.into_iter().flatten() {
            wrong.push((record.clone(), "events", format!("event {}: {problem}", record.seq.0)));
        }
        let flow = read_for(&record, "flows", view.wrong_with_flow(&record), &mut hurt, notes)?;
        let Some(Some(problems)) = flow else { continue };
        notes.report.flows += 1;
        for problem in problems {
            wrong.push((record.clone(), "flows", format!("flow {:?}: {problem}", record.flow)));
        }
    }
    // Naming an event takes the lock again.
    drop(view);
    for (record, error) in hurt {
        notes.touch(&error, record.seq, scene.affected(&record));
    }
    for (record, part, problem) in wrong {
        tell(scene, &record, part, problem, notes);
    }
    Ok(())
}

fn tell(scene: &Scene, record: &EventRecord, part: &str, problem: String, notes: &mut Notebook) {
    let meaning = match part {
        "flows" => "its status is told wrongly, and it may never expire, or too early",
        _ => "it may be delivered twice, or never",
    };
    let mut finding = Finding {
        part: part.to_owned(),
        file: scene.dir.join("sled").display().to_string(),
        problem,
        meaning: meaning.to_owned(),
        remedy: "restore a backup (`tidegate restore`), or repair the event by hand: `tidegate dead`, `tidegate replay`".to_owned(),
        ..Finding::default()
    };
    finding.touch(scene.affected(record));
    notes.add(finding);
}
