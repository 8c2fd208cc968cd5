//! Peers: the same work by other systems, in the same run, at the same durability (on disk before the answer).
//!
//! Each is measured when its server is there, and said to be left out when it is not. The clients are small ones
//! of our own, so that they cost as little as they can.

mod jetstream;
mod nats;
pub(crate) mod redis;
mod redis_work;
mod resp;
mod server;

pub(crate) use jetstream::Jetstream;
pub(crate) use redis_work::RedisWork;

/// Events that a consumer reads at once; Tidegate's subscriptions are wired to handle as many at a time.
const READ: usize = crate::app::CONCURRENCY as usize;
