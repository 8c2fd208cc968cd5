//! Leaving: how a subscription actor makes room for another, or goes for good, while the bus runs.
//!
//! ```text
//! Leave ─> starts nothing, attempts end ─> their outcomes are on disk, no question is open: quiet
//!                                            ├─ End ─> the actor is gone, its inbox is free
//! Stay  <────────── too long ────────────────┘
//! ```
//! Quiet means that the store says everything about the subscription: the next actor reads it there and
//! repeats nothing.

use std::time::Duration;

use actix::{ActorContext, Context};
use tokio::sync::oneshot;

use super::port::Input;
use super::{Port, Settings, Subscription, SubscriptionActor};
use crate::event::EventName;

/// An actor on its way out.
#[derive(Debug)]
pub(crate) enum Leaving {
    /// Told when it is quiet.
    Asked(oneshot::Sender<()>),
    /// It is quiet, and waits for what is decided.
    Quiet,
    /// Told when the actor is gone.
    Ending(oneshot::Sender<()>),
}

/// What of a subscription can change while its actor goes on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rewired {
    pub(crate) limits: Settings,
    pub(crate) timeout: Duration,
    pub(crate) on_dead: Option<EventName>,
    pub(crate) compensate: bool,
    pub(crate) keep_states: bool,
}

impl Subscription {
    /// Whether the same actor can go on with `new`. Another step, another order and another relation to the
    /// disk need another actor, because what stands in memory was made by the old ones.
    pub(crate) fn goes_on_as(&self, new: &Self) -> bool {
        self.wired_step() == new.wired_step()
            && self.limits.order == new.limits.order
            && self.pure == new.pure
    }

    fn wired_step(&self) -> &'static str {
        self.step.name()
    }

    pub(crate) fn rewired(&self) -> Rewired {
        let (limits, on_dead) = (self.limits.clone(), self.on_dead.clone());
        let Self { timeout, compensate, keep_states, .. } = *self;
        Rewired { limits, timeout, on_dead, compensate, keep_states }
    }
}

impl Port {
    /// Lets it start nothing any more; the answer comes when nothing of it is under way.
    pub(crate) fn leave(&self) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        self.tell(Input::Leave(tell));
        told
    }

    /// Takes back [`Port::leave`].
    pub(crate) fn stay(&self) {
        self.tell(Input::Stay);
    }

    /// Ends an actor that is quiet; the answer comes when it is gone.
    pub(crate) fn end(&self) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        self.tell(Input::End(tell));
        told
    }

    /// Changes what can change in place.
    pub(crate) fn rewire(&self, new: Rewired) {
        self.tell(Input::Rewired(Box::new(new)));
    }
}

impl SubscriptionActor {
    /// Takes what the wiring says now. What runs is not touched.
    pub(super) fn rewired(&mut self, new: Rewired) {
        let Rewired { limits, timeout, on_dead, compensate, keep_states } = new;
        self.wired.compensate = compensate;
        self.wired.keep_states = keep_states;
        self.wired.timeout = timeout;
        self.wired.on_dead = on_dead;
        self.core.set_settings(&limits);
        self.wired.limits = limits;
    }

    /// Says that it is quiet as soon as it is, and ends when it was told to.
    pub(super) fn leave(&mut self, ctx: &mut Context<Self>) {
        let is_quiet = self.running.is_empty()
            && self.outgoing.is_empty()
            && self.alone.is_none()
            && self.handed_in == self.recorded
            && self.asked == 0;
        match self.leaving.take() {
            Some(Leaving::Asked(tell)) if is_quiet => {
                // Who asked may have lost patience; then it is told to stay.
                let _is_awaited = tell.send(()).is_ok();
                self.leaving = Some(Leaving::Quiet);
            }
            Some(Leaving::Ending(tell)) => {
                // The answer is given when the actor is dropped: then nobody reads the inbox any more.
                self.leaving = Some(Leaving::Ending(tell));
                ctx.stop();
            }
            other => self.leaving = other,
        }
    }
}
