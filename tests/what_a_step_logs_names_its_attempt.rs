//! Promise: a line that a step logs names the flow, the event, the subscription and the attempt, wherever the step runs.
#![allow(clippy::unwrap_used, reason = "a promise ends where it is broken")]

mod kit;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kit::{job, wired, work};
use tidegate::prelude::*;
use tidegate::testing::Harness;

#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn on_the_steps_threads_and_on_an_arbiter_at_every_attempt() {
    let lines = Lines::default();
    let writer = lines.clone();
    // For the whole process: steps run on threads of the bus.
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();

    for pure in [false, true] {
        lines.0.lock().unwrap().clear();
        let (steps, _) = work(|_, cx| {
            tracing::info!("at work");
            if cx.attempt() == 1 { Err(StepError::retry("the first one fails")) } else { Ok(()) }
        });
        let mut h = Harness::new(steps, &wired(&format!("pure = {pure}")));
        let accepted = h.publish_as("e1", "job.given", job(1, "k"));
        h.advance(Duration::from_hours(1));

        let told = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let said: Vec<&str> = told.lines().filter(|line| line.ends_with("at work")).collect();
        assert_eq!(said.len(), 2, "{told}");
        for (line, attempt) in said.into_iter().zip(1..) {
            let flow = &accepted.flow;
            let wanted =
                format!("attempt{{flow=\"{flow}\" event=\"e1\" subscription=\"work\" attempt={attempt}}}: ");
            assert!(line.contains(&wanted), "pure {pure}: {wanted} is not in {line}");
        }
    }
}
