//! Rows: the checksum of every row in sled, and the counts that the last checkpoint left.

use super::{Notebook, PAGE, Scene};
use crate::store::StoreError;
use crate::store::sled::base::{Counts, Stamp, is_alone};
use crate::store::verify::{Finding, Progress};
use crate::store::view::describe_row;

const REBUILD: &str = "stop the server and start it again: while the journal reaches back to commit 1, what is damaged is moved \
                       aside and rebuilt; else restore a backup (`tidegate restore`)";

/// Rows read under one lock.
const LOCKED: usize = 64;

/// Reads every row.
pub(super) fn check(scene: &Scene, progress: &Progress, notes: &mut Notebook) -> Result<(), StoreError> {
    let unreadable = "the checkpoint cannot be read";
    let Some(stamp) = notes.take("checkpoint", unreadable, scene.base.now().and_then(|base| base.stamp()))?
    else {
        return Ok(());
    };
    let is_still = !has_fold(scene);
    progress.begin("rows", stamp.counts.values().sum());
    let mut counts = Counts::new();
    let mut from = vec![0x01];
    loop {
        progress.check()?;
        let Some(keys) = notes.take(
            "rows",
            "what stands behind this place cannot be listed",
            scene.base.now().and_then(|base| base.keys(&from, PAGE)),
        )?
        else {
            return Ok(());
        };
        let Some(last) = keys.last() else { break };
        from = [last.as_slice(), &[0]].concat();
        for some in keys.chunks(LOCKED) {
            look(scene, some, &mut counts, notes)?;
        }
        progress.add(keys.len() as u64);
    }
    let after = notes.take("checkpoint", unreadable, scene.base.now().and_then(|base| base.stamp()))?;
    if !is_still || has_fold(scene) || after.as_ref() != Some(&stamp) {
        if scene.is_live {
            notes.note("the numbers of rows were not compared with those of the checkpoint, because one ran meanwhile");
        }
        return Ok(());
    }
    compare(scene, &stamp, &counts, notes);
    Ok(())
}

/// Reads some rows under one lock of the view: with a lock for each, a busy writer is waited for at each.
fn look(
    scene: &Scene,
    keys: &[Vec<u8>],
    counts: &mut Counts,
    notes: &mut Notebook,
) -> Result<(), StoreError> {
    let view = scene.shared.view()?;
    for key in keys {
        *counts.entry(key.first().copied().unwrap_or_default()).or_default() += 1;
        let row = view.rows().get(key);
        if let Err(error @ StoreError::Damaged { .. }) = row {
            let meaning = if is_alone(key) {
                format!("it was {}; whoever needs it gets an error, and the store closes", describe_row(key))
            } else {
                format!(
                    "it was a page of rows of which the last was {}; whoever needs one of them gets an error, and the store closes. \
                     Events that it touches, as far as they can still be told apart",
                    describe_row(key)
                )
            };
            notes.add(Finding { remedy: REBUILD.to_owned(), ..Finding::of("rows", &error, &meaning) });
        } else {
            row?;
            notes.report.rows += 1;
        }
    }
    Ok(())
}

/// Whether a checkpoint is under way.
fn has_fold(scene: &Scene) -> bool {
    let entries = std::fs::read_dir(&scene.dir).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("fold-"))
}

fn compare(scene: &Scene, stamp: &Stamp, counts: &Counts, notes: &mut Notebook) {
    let tables: std::collections::BTreeSet<u8> = stamp.counts.keys().chain(counts.keys()).copied().collect();
    for table in tables {
        let (was, is) =
            (stamp.counts.get(&table).copied().unwrap_or(0), counts.get(&table).copied().unwrap_or(0));
        if was != is {
            notes.add(Finding {
                part: "rows".to_owned(),
                file: scene.dir.join("sled").display().to_string(),
                problem: format!(
                    "table {table:02x} has {is} rows, the checkpoint at commit {} left {was}",
                    stamp.commit.0
                ),
                meaning: format!(
                    "rows were lost or have come back silently; one of them was {}",
                    describe_row(&[table])
                ),
                remedy: REBUILD.to_owned(),
                ..Finding::default()
            });
        }
    }
}
