//! Patterns over event names: what a subscription's `on` holds.
//!
//! `*` stands for one token, `>` for one or more tokens at the end, a leading `!` takes names out again
//! (the token rules of NATS subjects). No wildcard ever matches a name of the bus's own.

use super::EventName;

/// One entry of `on`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    tokens: Vec<Token>,
    is_exception: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Exact(String),
    One,
    Rest,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "pattern {pattern:?} {problem}; write an event name, `*` for one token, `>` for the rest, or `!` before a pattern to except it"
)]
pub struct PatternError {
    pattern: String,
    problem: &'static str,
}

impl Pattern {
    /// Parses one entry of `on`.
    ///
    /// # Errors
    /// [`PatternError`] when a token is empty or malformed, or `>` is not the last one.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let refuse = |problem| PatternError { pattern: text.to_owned(), problem };
        let (body, is_exception) = text.strip_prefix('!').map_or((text, false), |rest| (rest, true));
        let mut tokens = Vec::new();
        for token in body.split('.') {
            if tokens.last() == Some(&Token::Rest) {
                return Err(refuse("has a token after `>`"));
            }
            tokens.push(match token {
                "*" => Token::One,
                ">" => Token::Rest,
                "" => return Err(refuse("has an empty token")),
                word if word.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_')) => {
                    Token::Exact(word.to_owned())
                }
                _ => return Err(refuse("holds other characters than a-z, 0-9 and `_`")),
            });
        }
        Ok(Self { text: text.to_owned(), tokens, is_exception })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The event name, when the pattern is one name without a wildcard and no exception.
    pub fn exact(&self) -> Option<&str> {
        let is_exact = !self.is_exception && self.tokens.iter().all(|t| matches!(t, Token::Exact(_)));
        is_exact.then_some(self.text.as_str())
    }

    /// Whether the pattern takes names out.
    pub fn is_exception(&self) -> bool {
        self.is_exception
    }

    /// Whether the tokens cover `name`, the `!` left aside.
    pub fn covers(&self, name: &EventName) -> bool {
        let is_exact = self.tokens.iter().all(|t| matches!(t, Token::Exact(_)));
        if name.is_reserved() && !is_exact {
            return false;
        }
        let mut words = name.as_str().split('.');
        for token in &self.tokens {
            match (token, words.next()) {
                (Token::Exact(want), Some(word)) if want == word => {}
                (Token::One, Some(_)) => {}
                (Token::Rest, Some(_)) => return true,
                (Token::Exact(_) | Token::One | Token::Rest, _) => return false,
            }
        }
        words.next().is_none()
    }
}

/// All entries of one `on`: a name matches when an entry covers it and no exception does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PatternSet(Vec<Pattern>);

impl PatternSet {
    /// Parses every entry.
    ///
    /// # Errors
    /// The first entry's [`PatternError`].
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, PatternError> {
        entries.iter().map(|entry| Pattern::parse(entry.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// The entries, in the order they were written.
    pub fn patterns(&self) -> &[Pattern] {
        &self.0
    }

    /// Whether an event of this name belongs to the subscription.
    pub fn matches(&self, name: &EventName) -> bool {
        let (exceptions, wanted): (Vec<_>, Vec<_>) = self.0.iter().partition(|p| p.is_exception());
        wanted.iter().any(|p| p.covers(name)) && !exceptions.iter().any(|p| p.covers(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_tokens() {
        let cases = [
            ("payment.completed", "payment.completed", true),
            ("payment.*", "payment.completed", true),
            ("payment.*", "payment", false),
            ("payment.*", "payment.completed.late", false),
            ("payment.>", "payment.completed.late", true),
            ("payment.>", "payment", false),
            (">", "payment.completed", true),
            (">", "tidegate.dead", false),
            ("tidegate.*", "tidegate.dead", false),
            ("tidegate.dead", "tidegate.dead", true),
            ("*.completed", "payment.completed", true),
        ];
        for (pattern, name, expected) in cases {
            let set = PatternSet::parse(&[pattern]).unwrap();
            assert_eq!(set.matches(&EventName::new(name).unwrap()), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn an_exception_takes_names_out_wherever_it_stands() {
        let set = PatternSet::parse(&["!purchase.heartbeat", "purchase.>"]).unwrap();

        assert!(set.matches(&EventName::new("purchase.submitted").unwrap()));
        assert!(!set.matches(&EventName::new("purchase.heartbeat").unwrap()));
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for bad in ["", "a..b", "a.>.b", "A", "a.*b", "!"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }
}
