//! Incoming: the end of a channel at which work in hand is taken.

use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Takes what is sent. When it is closed or dropped it lets go of everything that was sent and not taken.
///
/// tokio's own receiver does not promise that: what is sent in the very moment in which the receiver goes is
/// kept until the last sender is gone as well, and whoever waits for an answer to it waits that long.
#[derive(Debug)]
pub struct Incoming<T>(UnboundedReceiver<T>);

impl<T> Incoming<T> {
    /// A channel without a limit, and the end at which it is taken from.
    pub fn channel() -> (UnboundedSender<T>, Self) {
        let (sender, receiver) = unbounded_channel();
        (sender, Self(receiver))
    }

    /// The next, or `None` when it is closed or all senders are gone.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_recv(cx)
    }

    /// Adds up to `most` that are there to `taken`, and tells how many: 0 when it is closed or all senders are
    /// gone. `taken` grows with what is there, not with `most`.
    pub fn poll_many(&mut self, cx: &mut Context<'_>, taken: &mut Vec<T>, most: usize) -> Poll<usize> {
        self.0.poll_recv_many(cx, taken, most)
    }

    /// All of it as a stream.
    pub fn stream(mut self) -> impl Stream<Item = T> {
        futures_util::stream::poll_fn(move |cx| self.poll_next(cx))
    }

    /// Takes nothing any more, and lets go of what was sent: a later send fails.
    pub fn close(&mut self) {
        self.0.close();
        loop {
            match self.0.try_recv() {
                Ok(sent) => drop(sent),
                Err(TryRecvError::Disconnected) => return,
                // A sender was let in before the end and has not put down what it brings: a few instructions.
                Err(TryRecvError::Empty) => std::thread::yield_now(),
            }
        }
    }
}

impl<T> Drop for Incoming<T> {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::activity::Activity;

    #[test]
    fn what_is_sent_in_the_moment_of_the_end_is_let_go_of() {
        let activity = Activity::default();
        for round in 0..20_000 {
            let (sender, incoming) = Incoming::channel();
            let together = Barrier::new(2);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    together.wait();
                    while sender.send(activity.begin()).is_ok() {}
                });
                together.wait();
                drop(incoming);
            });
            assert_eq!(activity.in_hand(), 0, "round {round}");
            drop(sender);
        }
    }
}
