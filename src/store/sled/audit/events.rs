//! Events and flows: what an event says of its deliveries, the queues say too, and a flow counts them right.

use super::{Notebook, PAGE, Scene};
use crate::store::verify::{Finding, Progress};
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
    for seq in from.0..from.0 + PAGE as u64 {
        let record = scene.shared.event(Seq(seq));
        found.extend(notes.take("events", UNREADABLE, record)?.flatten());
    }
    Ok(found)
}

/// Looks at some events under one lock of the view: with a lock for each, a busy writer is waited for at each.
fn look(scene: &Scene, records: &[EventRecord], notes: &mut Notebook) -> Result<(), StoreError> {
    let view = scene.shared.view()?;
    let mut wrong = Vec::new();
    for record in records {
        // The event may have moved since its page was read.
        let now = view.event(record.seq);
        let Some(Some(record)) = notes.take("events", UNREADABLE, now)? else { continue };
        notes.report.events += 1;
        for problem in notes.take("events", UNREADABLE, view.wrong_with_event(&record))?.into_iter().flatten()
        {
            wrong.push((record.clone(), "events", format!("event {}: {problem}", record.seq.0)));
        }
        let flow = notes.take("flows", UNREADABLE, view.wrong_with_flow(&record))?;
        let Some(Some(problems)) = flow else { continue };
        notes.report.flows += 1;
        for problem in problems {
            wrong.push((record.clone(), "flows", format!("flow {:?}: {problem}", record.flow)));
        }
    }
    // Naming an event takes the lock again.
    drop(view);
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
