//! Whose turn it is when a fresh delivery and one that comes back could both start.

/// Gives deliveries that come back their share of the starts, and the fresh ones the others.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Starts that those which come back have saved up.
    saved: f64,
}

impl Turns {
    /// Whether the next start is for one that comes back, at `share` of all starts (0 to 1; at least one in a
    /// hundred and at most ninety-nine).
    pub(super) fn is_of_again(&mut self, share: f64) -> bool {
        if self.saved >= 1.0 {
            self.saved -= 1.0;
            return true;
        }
        let share = if share > 0.01 { share.min(0.99) } else { 0.01 };
        self.saved += share / (1.0 - share);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gets_its_share_of_the_starts() {
        for (share, of_a_thousand) in [(0.25, 250), (0.5, 500), (0.75, 750), (0.0, 10), (1.0, 990)] {
            let mut turns = Turns::default();

            let again = (0..1_000).filter(|_| turns.is_of_again(share)).count();

            assert!(again.abs_diff(of_a_thousand) <= 1, "{share}: {again}");
        }
    }
}
