//! Reading `[subscription.<name>] breaker`: when an outage stops it, and when it tries again.

use std::time::Duration;

use super::read::Section;
use super::shape::TICK;

/// `breaker`: so many failures in so long, and no more that ended well, stop the subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failed attempts.
    pub failures: u32,
    /// Within this long.
    pub window: Duration,
    /// After this long one attempt tries.
    pub probe: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { failures: 50, window: Duration::from_secs(10), probe: Duration::from_secs(10) }
    }
}

/// Reads `breaker`, which is known from here on; `None` when nobody has set it.
pub(super) fn breaker(subscription: &mut Section<'_>) -> Option<BreakerSettings> {
    let is_set = subscription.has("breaker");
    let mut section = subscription.table("breaker");
    let base = BreakerSettings::default();
    let settings = BreakerSettings {
        failures: section.whole("failures", base.failures, 1..=100_000),
        window: section.duration("window", base.window, TICK),
        probe: section.duration("probe", base.probe, TICK),
    };
    section.finish();
    is_set.then_some(settings)
}
