//! Deliveries: every one that is open has its event, and that can be read and decoded.

use super::{Notebook, PAGE, Scene};
use crate::store::verify::{Finding, Progress};
use crate::store::view::{OpenDelivery, Payloads as _, Place};
use crate::store::{Ordinal, Reader as _, Seq, StoreError, SubscriptionRecord};

/// Open deliveries up to which they are counted in a store that works: all at one moment.
const COUNTED_LIVE: u64 = 10_000;
const LOST: &str = "this delivery cannot be attempted: its subscription stops at it";
const REMEDY: &str = "restore a backup (`tidegate restore`), or skip the delivery once the server runs";

/// Looks at every open delivery of every subscription.
pub(super) fn check(scene: &Scene, progress: &Progress, notes: &mut Notebook) -> Result<(), StoreError> {
    let Some(subscriptions) = notes.take("rows", LOST, scene.shared.subscriptions())? else { return Ok(()) };
    progress.begin("deliveries", subscriptions.iter().map(|one| one.backlog + one.dead).sum());
    for subscription in &subscriptions {
        let (mut after, mut open, mut dead) = (Ordinal(0), 0, 0);
        loop {
            progress.check()?;
            let page = scene.shared.view()?.open_deliveries(subscription.id, after, PAGE);
            let Some(page) = notes.take("deliveries", "the queue behind this place cannot be read", page)?
            else {
                break;
            };
            let Some(last) = page.last() else { break };
            after = last.ordinal;
            dead += page.iter().filter(|one| one.is_dead()).count() as u64;
            open += page.iter().filter(|one| !one.is_dead()).count() as u64;
            look(scene, subscription, &page, notes)?;
            notes.report.deliveries += page.len() as u64;
            progress.add(page.len() as u64);
        }
        count(scene, subscription, (open, dead), notes)?;
    }
    Ok(())
}

fn look(
    scene: &Scene,
    subscription: &SubscriptionRecord,
    page: &[OpenDelivery],
    notes: &mut Notebook,
) -> Result<(), StoreError> {
    let places = {
        let view = scene.shared.view()?;
        for open in page {
            let wrong = view.wrong_with(open);
            let Some(Some(problem)) = notes.take("deliveries", LOST, wrong)? else { continue };
            if view.stands_still(open)? {
                notes.add(finding(scene, subscription, open, &problem));
            }
        }
        let seqs: Vec<Seq> = page.iter().map(|open| open.seq).collect();
        scene.shared.payloads.places(&view, &seqs)
    };
    let Some(places) = notes.take("deliveries", LOST, places)? else { return Ok(()) };
    for (open, place) in page.iter().zip(places) {
        let problem = match place {
            None => Some("nobody knows where its event is in the journal".to_owned()),
            Some(place) => unreadable(scene, open, place)?,
        };
        let Some(problem) = problem.filter(|_| !notes.lost.contains(&open.seq)) else { continue };
        // A store that works may have settled it, and let go of its event, since it was listed.
        let view = scene.shared.view()?;
        let is_open = view.stands_still(open)?;
        drop(view);
        if is_open {
            let mut told = finding(scene, subscription, open, &problem);
            if let Ok(Some(record)) = scene.shared.event(open.seq) {
                told.touch(scene.affected(&record));
            }
            notes.add(told);
        }
    }
    Ok(())
}

/// Why an event cannot be read, or is another one than its bookkeeping says.
fn unreadable(scene: &Scene, open: &OpenDelivery, place: Place) -> Result<Option<String>, StoreError> {
    let stored = match scene.shared.payloads.fetch(vec![(open.seq, place)]) {
        Ok(mut stored) => stored.pop(),
        Err(error @ (StoreError::Damaged { .. } | StoreError::Io { .. })) => {
            return Ok(Some(error.to_string()));
        }
        Err(error) => return Err(error),
    };
    let (Some(stored), Ok(Some(record))) = (stored, scene.shared.event(open.seq)) else { return Ok(None) };
    let is_same = (&stored.event.id, &stored.event.source) == (&record.id, &record.source);
    Ok((!is_same).then(|| {
        format!("the journal has event {:?} of {:?} in its place", stored.event.id, stored.event.source)
    }))
}

fn finding(scene: &Scene, subscription: &SubscriptionRecord, open: &OpenDelivery, problem: &str) -> Finding {
    Finding {
        part: "deliveries".to_owned(),
        file: scene.dir.display().to_string(),
        problem: format!("event {} in subscription {:?}: {problem}", open.seq.0, subscription.name),
        meaning: LOST.to_owned(),
        remedy: REMEDY.to_owned(),
        ..Finding::default()
    }
}

/// Compares the counts of a subscription with what is in its queue.
fn count(
    scene: &Scene,
    subscription: &SubscriptionRecord,
    (mut open, mut dead): (u64, u64),
    notes: &mut Notebook,
) -> Result<(), StoreError> {
    let (mut backlog, mut letters) = (subscription.backlog, subscription.dead);
    if scene.is_live {
        if backlog + letters > COUNTED_LIVE {
            notes.note(format!(
                "the backlog of {:?} was read and not counted: it moves meanwhile",
                subscription.name
            ));
            return Ok(());
        }
        let view = scene.shared.view()?;
        let all = view.open_deliveries(subscription.id, Ordinal(0), usize::MAX)?;
        dead = all.iter().filter(|one| one.is_dead()).count() as u64;
        open = all.len() as u64 - dead;
        let now = view.subscription_records()?.into_iter().find(|one| one.id == subscription.id);
        (backlog, letters) = now.map_or((open, dead), |one| (one.backlog, one.dead));
    }
    if (open, dead) != (backlog, letters) {
        notes.add(Finding {
            part: "deliveries".to_owned(),
            file: scene.dir.display().to_string(),
            problem: format!(
                "subscription {:?} counts a backlog of {backlog} and {letters} dead letters, its queue has {open} and {dead}",
                subscription.name
            ),
            meaning: "the figures that operators and alerts see are wrong; deliveries may be missing".to_owned(),
            remedy: REMEDY.to_owned(),
            ..Finding::default()
        });
    }
    Ok(())
}
