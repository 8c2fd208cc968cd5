//! Steps under chaos: attempts that run twice and end in another order, by seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::event::{Envelope, EventName, Identity};
use crate::step::{Decoded, ErasedStep, EventType, Handled, Lane, Registry, StepContext, StepError};

/// What is done to attempts. The same seed does the same to the same events.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chaos {
    /// Where the choices come from.
    pub seed: u64,
    /// Of a hundred attempts, how many run twice, the first time for nothing, as when the process died
    /// between the effect and its record.
    pub duplicates: u8,
    /// Lets attempts give way to others a chosen number of times before they begin.
    pub is_shuffled: bool,
}

#[derive(Debug)]
struct UnderChaos {
    inner: Arc<dyn ErasedStep>,
    chaos: Chaos,
    calls: AtomicU64,
}

/// The same steps, each under chaos.
pub(super) fn under(registry: &Registry, chaos: Chaos) -> Registry {
    let steps = registry.names().into_iter().filter_map(|name| registry.get(name));
    steps.fold(Registry::new(), |registry, inner| {
        registry.erased(Arc::new(UnderChaos { inner, chaos, calls: AtomicU64::new(0) }))
    })
}

impl UnderChaos {
    /// A number drawn for this attempt.
    fn draw(&self, event: &Envelope, attempt: u32) -> u64 {
        let text = format!("{} {} {attempt}", self.chaos.seed, self.inner.name());
        let Identity(bytes) = Identity::of(&text, &event.id);
        bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

impl ErasedStep for UnderChaos {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn is_stateful(&self) -> bool {
        self.inner.is_stateful()
    }

    fn is_blocking(&self) -> bool {
        self.inner.is_blocking()
    }

    fn handles(&self, name: &EventName) -> bool {
        self.inner.handles(name)
    }

    fn inputs(&self) -> Vec<&'static str> {
        self.inner.inputs()
    }

    fn is_any(&self) -> bool {
        self.inner.is_any()
    }

    fn emits(&self, input: &str) -> Vec<&'static str> {
        self.inner.emits(input)
    }

    fn undoes(&self) -> Vec<&'static str> {
        self.inner.undoes()
    }

    fn lane(&self, event: &Envelope) -> Result<Lane, StepError> {
        self.inner.lane(event)
    }

    fn call(
        self: Arc<Self>,
        event: Arc<Envelope>,
        decoded: Option<Decoded>,
        state: Option<Bytes>,
        cx: StepContext,
    ) -> BoxFuture<'static, Result<Handled, StepError>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        async move {
            let draw = self.draw(&event, cx.attempt());
            if self.chaos.is_shuffled {
                for _ in 0..draw % 32 {
                    tokio::task::yield_now().await;
                }
            }
            if draw / 32 % 100 < u64::from(self.chaos.duplicates) {
                let lost =
                    Arc::clone(&self.inner).call(Arc::clone(&event), None, state.clone(), cx.clone()).await;
                tracing::debug!(event = event.id, lost = lost.is_ok(), "attempt ran for nothing");
            }
            Arc::clone(&self.inner).call(event, decoded, state, cx).await
        }
        .boxed()
    }

    fn event_types(&self) -> Vec<EventType> {
        self.inner.event_types()
    }
}
