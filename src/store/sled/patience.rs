//! Patience: waiting for a lock that somebody is letting go of, and for room on a disk that has become full in a bad moment.
//!
//! sled frees its lock some time after its last handle is gone, and a process that was told to end may still be ending.

use std::time::Duration;

use crate::store::StoreError;

/// How long is waited between two tries.
const PAUSE: Duration = Duration::from_millis(10);
/// Three seconds in all: on a busy machine it takes a while until a thread that lets go of a lock has its turn.
pub(super) const TRIES: u32 = 300;

/// Tries until there is something; `None` when it was in vain `tries` times. An error ends it.
pub(super) fn when_free<T>(
    tries: u32,
    mut attempt: impl FnMut() -> Result<Option<T>, StoreError>,
) -> Result<Option<T>, StoreError> {
    for _ in 0..tries {
        if let Some(found) = attempt()? {
            return Ok(Some(found));
        }
        std::thread::park_timeout(PAUSE);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_tried_until_it_is_free_and_not_for_ever() {
        let mut left = 3;
        let mut attempt = || {
            left -= 1;
            Ok((left == 0).then_some("free"))
        };

        assert_eq!(when_free(2, &mut attempt).unwrap(), None);
        assert_eq!(when_free(2, &mut attempt).unwrap(), Some("free"));
        when_free::<()>(2, || Err(StoreError::Poisoned { cause: "c".to_owned() })).unwrap_err();
    }
}
