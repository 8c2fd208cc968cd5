//! The journal of `cx.run` and the notes of `cx.progress`, kept in the store.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::attempt::Workplace;
use crate::committer::Changes;
use crate::step::{Effects, StepError};
use crate::store::{Change, Receipt, Seq};

/// The effects of one delivery.
#[derive(Debug, Clone)]
pub(crate) struct StoredEffects {
    pub(crate) at: Arc<Workplace>,
    pub(crate) seq: Seq,
}

impl Effects for StoredEffects {
    fn recorded(&self, name: String) -> BoxFuture<'static, Result<Option<Bytes>, StepError>> {
        let this = self.clone();
        async move {
            // What leaves the process waits for the disk it stands on: the state of the key's last settle, and
            // what an earlier attempt has recorded.
            if this.at.submitter.commit(Changes::default()).await.is_none_or(|answer| answer.is_err()) {
                return Err(StepError::Shutdown);
            }
            let pool = this.at.reads.pool.clone();
            let read = move || this.at.reads.reader.effects(this.at.port.id, this.seq);
            let read = pool.spawn_blocking(read).await?;
            Ok(read?.into_iter().find_map(|(recorded, value)| (recorded == name).then_some(value)))
        }
        .boxed()
    }

    fn record(&self, name: String, value: Bytes) -> BoxFuture<'static, Result<(), StepError>> {
        let change = Change::Effect { subscription: self.at.port.id, seq: self.seq, name, value };
        let at = Arc::clone(&self.at);
        async move {
            let answer = at.submitter.commit(change).await;
            match answer.and_then(Result::ok).as_deref() {
                Some([Receipt::Applied { .. }]) => Ok(()),
                Some(_) => Err(StepError::skip("the delivery was settled by somebody else")),
                None => Err(StepError::Shutdown),
            }
        }
        .boxed()
    }

    fn progress(&self, text: String) {
        let change = Change::Progress { subscription: self.at.port.id, seq: self.seq, text };
        // Progress is a note for people: it need not be awaited, and is gone with the bus.
        let _is_running: bool = self.at.submitter.submit(change, None);
    }
}
