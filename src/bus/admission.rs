//! Admission: the flood is refused before anything is stored, never dropped after.
//!
//! A publisher takes room for its events in a bounded queue before they are handed to the bus, and gives
//! it back when they are answered. The disk is watched too: below the reserve nothing is taken from
//! outside, so that running work can still record its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::PublishError;

/// Limits of what publishers may have under way.
#[derive(Debug, Clone)]
pub struct AdmissionLimits {
    /// Most events accepted and not yet on disk.
    pub queue_events: usize,
    /// Most payload bytes accepted and not yet on disk.
    pub queue_bytes: usize,
    /// Free disk in bytes below which publishing is refused.
    pub disk_reserve: u64,
    /// Most bytes of changes that wait for the checkpoint; beyond, publishing waits for the checkpoint.
    pub unfolded_bytes: u64,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self {
            queue_events: 65_536,
            queue_bytes: 64 * 1024 * 1024,
            disk_reserve: 256 * 1024 * 1024,
            unfolded_bytes: 512 * 1024 * 1024,
        }
    }
}

/// Counts what is under way. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct Admission(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: AdmissionLimits,
    events: AtomicUsize,
    bytes: AtomicUsize,
    disk_free: AtomicU64,
    unfolded: AtomicU64,
}

/// Room that was taken; given back when dropped.
#[derive(Debug)]
pub struct Room {
    of: Arc<Inner>,
    events: usize,
    bytes: usize,
}

impl Admission {
    /// An empty queue with these limits.
    pub fn new(limits: AdmissionLimits) -> Self {
        Self(Arc::new(Inner {
            limits,
            events: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            disk_free: AtomicU64::new(u64::MAX),
            unfolded: AtomicU64::new(0),
        }))
    }

    /// What the store says of the disk and of its checkpoint.
    pub fn observe(&self, disk_free: Option<u64>, unfolded_bytes: u64) {
        self.0.disk_free.store(disk_free.unwrap_or(u64::MAX), Ordering::Relaxed);
        self.0.unfolded.store(unfolded_bytes, Ordering::Relaxed);
    }

    /// Events under way.
    pub fn queued(&self) -> usize {
        self.0.events.load(Ordering::Relaxed)
    }

    /// Why nothing would be taken at this moment.
    pub fn refusal(&self) -> Option<PublishError> {
        self.admit(1, 0).err()
    }

    /// Takes room for `events` events of `bytes` payload bytes together.
    ///
    /// # Errors
    /// [`PublishError::DiskFull`] below the disk reserve, [`PublishError::Saturated`] when there is no
    /// room; nothing was taken.
    pub fn admit(&self, events: usize, bytes: usize) -> Result<Room, PublishError> {
        let free = self.0.disk_free.load(Ordering::Relaxed);
        if free < self.0.limits.disk_reserve {
            return Err(PublishError::DiskFull { free, reserve: self.0.limits.disk_reserve });
        }
        let saturated = || PublishError::Saturated { retry_after: Duration::from_secs(1) };
        if self.0.unfolded.load(Ordering::Relaxed) > self.0.limits.unfolded_bytes {
            return Err(saturated());
        }
        let room = Room { of: Arc::clone(&self.0), events, bytes };
        let queued_events = self.0.events.fetch_add(events, Ordering::AcqRel) + events;
        let queued_bytes = self.0.bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        // One batch may be larger than the queue when the queue is empty, or it could never be taken.
        let is_alone = queued_events == events;
        let fits = queued_events <= self.0.limits.queue_events && queued_bytes <= self.0.limits.queue_bytes;
        if fits || is_alone { Ok(room) } else { Err(saturated()) }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.of.events.fetch_sub(self.events, Ordering::AcqRel);
        self.of.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(queue_events: usize) -> Admission {
        Admission::new(AdmissionLimits { queue_events, ..AdmissionLimits::default() })
    }

    #[test]
    fn a_full_queue_refuses_and_takes_again_when_there_is_room() {
        let admission = admission(2);
        let first = admission.admit(1, 10).unwrap();
        let _second = admission.admit(1, 10).unwrap();

        assert!(matches!(admission.admit(1, 10), Err(PublishError::Saturated { .. })));

        drop(first);
        assert!(admission.admit(1, 10).is_ok());
    }

    #[test]
    fn a_refused_publisher_leaves_no_room_taken() {
        let admission = admission(1);
        let first = admission.admit(1, 0).unwrap();
        for _ in 0..10 {
            assert!(admission.admit(1, 0).is_err());
        }

        drop(first);

        assert_eq!(admission.queued(), 0);
    }

    #[test]
    fn below_the_disk_reserve_nothing_is_taken() {
        let admission = admission(10);
        admission.observe(Some(1), 0);

        assert!(matches!(admission.admit(1, 0), Err(PublishError::DiskFull { free: 1, .. })));

        admission.observe(Some(u64::MAX), 0);
        assert!(admission.admit(1, 0).is_ok());
    }

    #[test]
    fn bytes_are_limited_as_events_are() {
        let admission = Admission::new(AdmissionLimits { queue_bytes: 100, ..AdmissionLimits::default() });
        let first = admission.admit(1, 60).unwrap();

        assert!(matches!(admission.admit(1, 41), Err(PublishError::Saturated { .. })));
        assert!(admission.admit(1, 40).is_ok());

        drop(first);
        assert!(admission.admit(1, 41).is_ok());
    }

    #[test]
    fn what_is_larger_than_the_queue_is_taken_when_it_is_empty() {
        let admission = admission(2);

        let alone = admission.admit(3, 0).unwrap();

        assert!(admission.admit(1, 0).is_err());
        drop(alone);
        let _one = admission.admit(1, 0).unwrap();
        assert!(admission.admit(3, 0).is_err());
    }

    #[test]
    fn nothing_is_taken_while_too_much_waits_for_the_checkpoint() {
        let admission = Admission::new(AdmissionLimits { unfolded_bytes: 100, ..AdmissionLimits::default() });

        admission.observe(None, 101);
        assert!(matches!(admission.admit(1, 0), Err(PublishError::Saturated { .. })));

        admission.observe(None, 100);
        assert!(admission.admit(1, 0).is_ok());
    }
}
