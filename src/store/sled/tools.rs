//! The tools of a store that works.

use std::io::Write;
use std::sync::Arc;

use super::SledStore;
use super::audit::Scene;
use super::backup::backup_live;
use super::hold::Hold;
use crate::event::Timestamp;
use crate::store::{Manifest, Progress, StoreError, Tools, VerifyReport};

/// What the tools share with the store.
#[derive(Debug)]
pub(super) struct SledTools {
    scene: Scene,
    hold: Arc<Hold>,
}

impl SledTools {
    pub(super) fn of(store: &SledStore) -> Self {
        let scene = Scene {
            dir: store.settings.path.clone(),
            base: Arc::clone(&store.base),
            shared: Arc::clone(&store.shared),
            is_live: true,
        };
        Self { scene, hold: Arc::clone(&store.hold) }
    }
}

impl Tools for SledTools {
    fn verify(&self, progress: &Progress) -> Result<VerifyReport, StoreError> {
        self.scene.verify(progress)
    }

    fn backup(
        &self,
        now: Timestamp,
        out: &mut dyn Write,
        progress: &Progress,
    ) -> Result<Manifest, StoreError> {
        backup_live(&self.scene, &self.hold, now, out, progress)
    }
}
