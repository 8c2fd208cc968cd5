//! What the lock of the data folder promises.

use std::time::Duration;

use super::tests::{OnDisk, open};
use super::*;

#[test]
fn the_folder_is_locked_as_long_as_a_reader_lives() {
    let engine = OnDisk::new(1 << 20, 64 << 10);
    let store = open(&engine).unwrap();
    let reader = store.reader();

    assert!(matches!(open(&engine), Err(StoreError::Locked { .. })));
    drop(store);
    assert!(matches!(open(&engine), Err(StoreError::Locked { .. })));
    drop(reader);
    assert!(open(&engine).is_ok());
}

#[test]
fn a_folder_that_somebody_lets_go_of_a_while_later_is_waited_for() {
    let engine = OnDisk::new(32 << 20, 64 << 10);
    let store = open(&engine).unwrap();
    let reader = store.reader();
    drop(store);

    let late = std::thread::spawn(move || {
        std::thread::park_timeout(Duration::from_millis(1_500));
        drop(reader);
    });
    assert!(open(&engine).is_ok());
    late.join().unwrap();
}
