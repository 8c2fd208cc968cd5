//! A real bus to knock at, with a step that does as the event says.

use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody as _};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::*;
use crate::clock::Clock;
use crate::config;
use crate::event::Timestamp;
use crate::runtime::{Running, start_on};
use crate::step::{Event, On, Registry, Step, StepContext, StepError};
use crate::store::{MemoryStore, StoreSettings};

/// One lane per key; a second failure is final.
const WIRING: &str = r#"
[subscription.work]
step = "work"
on = ["order.placed"]
retry = { max_attempts = 2, backoff = { first = "1s", jitter = 0.0 } }
"#;

/// Longest time that anything here may take; running into it is a failure.
pub(super) const GUARD: Duration = Duration::from_mins(1);

/// So rarely that a status is not read again by itself in a test.
pub(super) const NEVER: Duration = Duration::from_hours(1);

/// What the step does with an event.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Todo {
    #[default]
    Succeed,
    Retry,
    Die,
}

#[derive(Debug, Serialize, Deserialize)]
struct Placed {
    #[serde(default)]
    todo: Todo,
    /// Wait for [`Site::let_go`] first.
    #[serde(default)]
    hold: bool,
}

impl Event for Placed {
    const NAME: &'static str = "order.placed";
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Count {
    handled: u64,
}

#[derive(Debug)]
struct Work {
    entered: Arc<Semaphore>,
    gate: Arc<Semaphore>,
}

impl Step for Work {
    const NAME: &'static str = "work";
    type State = Count;
}

impl On<Placed> for Work {
    type Emits = ();
    async fn on(&self, event: Placed, count: &mut Count, cx: &StepContext) -> Result<(), StepError> {
        if event.hold {
            self.entered.add_permits(1);
            self.gate.acquire().await.expect("an open gate").forget();
        }
        match event.todo {
            Todo::Succeed => {
                count.handled += 1;
                cx.resolve("sent")
            }
            Todo::Retry => Err(StepError::retry("not now")),
            Todo::Die => Err(StepError::fatal("broken", "cannot be done")),
        }
    }
}

/// The bus, and the strings that its step hangs on.
pub(super) struct Site {
    pub(super) running: Running,
    pub(super) clock: Clock,
    entered: Arc<Semaphore>,
    gate: Arc<Semaphore>,
}

impl Site {
    pub(super) fn new() -> Self {
        let (entered, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let work = Work { entered: Arc::clone(&entered), gate: Arc::clone(&gate) };
        let steps = Registry::new().step(work).on::<Placed>();
        let settings = config::load_text(WIRING).expect("a wiring").settings;
        let store = MemoryStore::new(&StoreSettings::default()).expect("a store");
        let clock = Clock::manual(Timestamp(1_774_944_000_000));
        let running = start_on(Box::new(store), &settings, steps.into(), &clock).expect("a bus");
        Self { running, clock, entered, gate }
    }

    /// Runs a test's questions. The bus is made and ended outside, for its threads are joined at its end.
    #[expect(clippy::unused_self, reason = "the bus has to outlive the questions")]
    pub(super) fn run(&self, test: impl Future<Output = ()>) {
        actix_web::rt::System::new().block_on(async {
            tokio::time::timeout(GUARD, test).await.expect("an end in time");
        });
    }

    pub(super) fn door(&self, settings: Settings) -> Door {
        let metrics = Arc::new(self.running.metrics());
        let bus = self.running.bus().clone();
        Door::new(bus, Durability::Memory, metrics, self.running.counters(), settings)
    }

    /// Resolves when an attempt that holds has begun.
    pub(super) async fn entered(&self) {
        self.entered.acquire().await.expect("an open gate").forget();
    }

    /// Lets one attempt that holds, now or later, go on.
    pub(super) fn let_go(&self) {
        self.gate.add_permits(1);
    }

    pub(super) async fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.running.nudge();
        self.running.idle().await;
    }
}

/// Sends `request` and leaves the body to be read piece by piece.
pub(super) async fn open(door: &Door, request: TestRequest) -> Pieces {
    let service = init_service(app(door.clone())).await;
    let response = call_service(&service, request.to_request()).await;
    assert_eq!(response.status(), 200);
    Pieces(response.into_body().boxed())
}

/// The body of an answer that is still being written.
pub(super) struct Pieces(BoxBody);

impl Pieces {
    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<String> {
        let piece = std::future::poll_fn(|cx| std::pin::Pin::new(&mut self.0).poll_next(cx)).await?;
        Some(String::from_utf8(piece.expect("a piece").to_vec()).expect("text"))
    }
}
