//! What the config files say below `[app]`.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// The application's own settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AppSettings {
    /// `[app.bank]`.
    pub bank: BankSettings,
}

/// `[app.bank]`: how the simulated bank behaves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BankSettings {
    /// How long it takes over a payment or a refund; zero unless set.
    #[serde(deserialize_with = "duration")]
    pub latency: Duration,
}

/// Reads `"50ms"`, `"2s"`, `"1m"`, as the other settings are written.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = text.split_at(digits);
    let scale = match unit {
        "ms" => Some(1_u64),
        "s" => Some(1_000),
        "m" => Some(60_000),
        _ => None,
    };
    let millis = count.parse::<u64>().ok().zip(scale).and_then(|(count, scale)| count.checked_mul(scale));
    millis.map(Duration::from_millis).ok_or_else(|| {
        serde::de::Error::custom(format!(
            "{text:?} is not a duration; write for instance \"50ms\", \"2s\" or \"1m\""
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<AppSettings, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn the_latency_is_written_like_any_duration() {
        for (text, millis) in [("0s", 0), ("50ms", 50), ("2s", 2_000), ("1m", 60_000)] {
            let settings = read(&format!(r#"{{"bank":{{"latency":"{text}"}}}}"#)).unwrap();
            assert_eq!(settings.bank.latency, Duration::from_millis(millis), "{text}");
        }
        for bad in ["", "5", "s", "-1s", "1 s", "99999999999999999999s"] {
            let error = read(&format!(r#"{{"bank":{{"latency":"{bad}"}}}}"#)).unwrap_err();
            assert!(error.to_string().contains("is not a duration"), "{bad}: {error}");
        }
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        assert_eq!(read("{}").unwrap(), AppSettings::default());
        assert!(read(r#"{"bank":{"latencie":"1s"}}"#).unwrap_err().to_string().contains("latencie"));
    }
}
