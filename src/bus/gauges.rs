//! The gauges: what stands where at the moment somebody looks.

use super::handle::Inner;
use crate::metrics::OfSubscription;
use crate::store::SubscriptionRecord;

impl Inner {
    /// Sets every gauge.
    pub(super) fn observe(&self) {
        for record in self.reader.subscriptions().unwrap_or_default() {
            self.observe_subscription(record);
        }
        let stats = self.reader.stats();
        let metrics = &self.metrics;
        metrics.queued.set(gauge(self.submitter.waiting().count() as u64));
        metrics.unheard(stats.unrouted);
        metrics.checkpoint_lag.set(gauge(stats.checkpoint_lag));
        metrics.unfolded_bytes.set(gauge(stats.unfolded_bytes));
        metrics.journal_bytes.set(gauge(stats.journal_bytes));
        metrics.disk_free_bytes.set(stats.disk_free.map_or(-1, gauge));
        metrics.commit_stalled.set(self.watchdog.stalled().map_or(0, |long| gauge(long.as_secs().max(1))));
        metrics.store_rows_lost.set(i64::from(stats.has_lost_rows));
        metrics.store_failed.set(i64::from(self.health.failure().is_some()));
        metrics.clock_ahead_seconds.set(self.clock.ahead_of_wall_ms() / 1_000);
        metrics.delayed.set(gauge(stats.delayed));
        metrics.dedupe_window_seconds.set(gauge(stats.dedupe_window_ms / 1_000));
    }

    fn observe_subscription(&self, record: SubscriptionRecord) {
        let inflight = self.ports.get(&record.id).map_or(0, |port| port.inflight() as u64);
        let oldest = record.oldest.map_or(0, |oldest| self.clock.now().millis_since(oldest) / 1_000);
        let of = OfSubscription { subscription: record.name };
        self.metrics.backlog.get_or_create(&of).set(gauge(record.backlog));
        self.metrics.dead.get_or_create(&of).set(gauge(record.dead));
        self.metrics.inflight.get_or_create(&of).set(gauge(inflight));
        self.metrics.kept_out(&of, record.filtered);
        self.metrics.oldest_seconds.get_or_create(&of).set(gauge(oldest));
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
