//! Reads single figures out of the text of `/metrics`.

/// The sum of all lines of this metric that have these labels, each written as `name="value"`.
pub(crate) fn figure(text: &str, metric: &str, labels: &[&str]) -> u64 {
    let of = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        let behind = name.strip_prefix(metric)?;
        let is_whole = behind.is_empty() || behind.starts_with('{');
        let is_meant = is_whole && labels.iter().all(|label| behind.contains(label));
        is_meant.then(|| value.parse::<u64>().ok()).flatten()
    };
    text.lines().filter_map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_that_of_its_labels_alone() {
        let text = "# HELP t_attempts Attempts.\nt_attempts_total{subscription=\"a\",outcome=\"done\"} 7\n\
                    t_attempts_total{subscription=\"b\",outcome=\"done\"} 5\nt_lag 3\nt_lag_of 9\n";

        assert_eq!(figure(text, "t_attempts_total", &["subscription=\"a\""]), 7);
        assert_eq!(figure(text, "t_attempts_total", &["outcome=\"done\""]), 12);
        assert_eq!(figure(text, "t_lag", &[]), 3);
        assert_eq!(figure(text, "t_none", &[]), 0);
    }
}
