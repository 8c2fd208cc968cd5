//! Retreat: after a failed write, readers are given what is on disk, and nothing that may not be.
//!
//! What was staged and never synced is in the view. Nobody may be told of it: after the next start it may not have
//! happened. So the view is built once more, as a start builds it, from sled, the fold file and the journal up to the
//! commit that was synced last.

use std::sync::Arc;

use super::SledStore;
use super::audit::replay;
use super::checkpoint::read_layer;
use super::payloads::OpenChunk;
use crate::store::journal::{AuditAsk, Mark, Record, audit};
use crate::store::rows::{Base, Rows};
use crate::store::view::View;
use crate::store::{Commit, Reader as _, StoreError};

impl SledStore {
    pub(super) fn retreat_all(&mut self) -> Result<Commit, StoreError> {
        // Its end is waited for: what it has written reads the same under its fold file.
        drop(self.fold.take());
        let durable = self.shared.durable();
        let dir = &self.settings.path;
        let mark = Mark::read(dir)?;
        let mut rows = Rows::over(Arc::clone(&self.base) as Arc<dyn Base>);
        if let Some(fold) = mark.as_ref().and_then(|mark| mark.fold.as_ref()) {
            rows.restore_frozen(read_layer(&dir.join(fold))?);
        }
        let mut view = View::load(rows, &self.settings, dir.join("sled"))?;
        let mut open = OpenChunk::load(&view)?;
        let folder = dir.join("journal");
        let ask =
            AuditAsk { after: mark.map_or(Commit(0), |mark| mark.commit), until: Some(durable), stops: true };
        let visit = &mut |record: Record<'_>| {
            if record.commit > durable { Ok(()) } else { replay(&record, &mut view, &mut open, &folder) }
        };
        let found = audit(&folder, ask, visit, &mut |_| {})?;
        if let Some(fault) = found.faults.into_iter().next() {
            return Err(fault.error);
        }
        if view.commit() != durable {
            let cause = format!("commit {} could be read, {} was acknowledged", view.commit().0, durable.0);
            return Err(StoreError::Poisoned { cause });
        }
        self.shared.payloads.set_open(open);
        self.shared.replace_view(view)?;
        self.shared.set_staged(durable);
        Ok(durable)
    }
}
