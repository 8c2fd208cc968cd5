//! The value types of CloudEvents: text, URI-reference, URI, time and media type.
//!
//! Each check takes the text and says what is wrong with it, ready to be shown to the sender.

use crate::event::Timestamp;

/// The most bytes an id, a source, a subject, a key or a flow may have: they go into URLs and into the
/// store's records.
pub const IDENTIFIER_MAX: usize = 2048;

/// Checks a text that identifies something: legal, not empty, within [`IDENTIFIER_MAX`].
///
/// # Errors
/// What is wrong, ready to be shown.
pub fn check_identifier(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("is empty; leave it out or give it a value".to_owned());
    }
    if text.len() > IDENTIFIER_MAX {
        return Err(format!("has {} bytes; the limit is {IDENTIFIER_MAX}", text.len()));
    }
    check_text(text)
}

/// A CloudEvents String holds no control characters and no noncharacters.
pub(super) fn check_text(text: &str) -> Result<(), String> {
    let is_illegal = |c: char| {
        let code = u32::from(c);
        c.is_control() || (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
    };
    match text.chars().find(|c| is_illegal(*c)) {
        Some(c) => Err(format!("holds the character U+{:04X}, which no attribute may hold", u32::from(c))),
        None => Ok(()),
    }
}

/// A URI-reference of RFC 3986 section 4.1: `https://host/x`, `//host/x`, `/orders`, `urn:x:y`.
pub(super) fn check_uri_reference(text: &str) -> Result<(), String> {
    let wrong =
        |what: &str| Err(format!("is no URI-reference: {what}; percent-encode what a URI may not hold"));
    if let Some(c) = text.chars().find(|c| !is_uri_char(*c)) {
        return wrong(&format!("it holds {c:?}"));
    }
    if has_bad_percent(text.as_bytes()) {
        return wrong("a `%` is not followed by two hex digits");
    }
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    if fragment.contains('#') {
        return wrong("it holds a second `#`");
    }
    let (hierarchy, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (scheme, part) = split_scheme(hierarchy);
    if scheme.is_none() && part.split('/').next().is_some_and(|segment| segment.contains(':')) {
        return wrong("what stands before the first `:` is no scheme");
    }
    let (authority, path) = match part.strip_prefix("//") {
        Some(rest) => rest.find('/').map_or((rest, ""), |at| rest.split_at(at)),
        None => ("", part),
    };
    if path.contains(['[', ']']) || query.contains(['[', ']']) || fragment.contains(['[', ']']) {
        return wrong("brackets stand outside of the host");
    }
    if is_authority(authority) { Ok(()) } else { wrong(&format!("`{authority}` is no authority")) }
}

/// A URI with a scheme. A fragment is taken too: schemas have them.
pub(super) fn check_uri(text: &str) -> Result<(), String> {
    check_uri_reference(text)?;
    match split_scheme(text) {
        (Some(_), _) => Ok(()),
        (None, _) => Err("is no absolute URI: it has no scheme".to_owned()),
    }
}

/// RFC 3339 to the millisecond.
///
/// # Errors
/// What is wrong with it, and how it is written.
pub fn parse_time(text: &str) -> Result<Timestamp, String> {
    let wrong = || "is no RFC 3339 time; write it like `2026-03-31T14:05:09.250Z`".to_owned();
    if !has_time_shape(text.as_bytes()) {
        return Err(wrong());
    }
    let time: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
    let millis = u64::try_from(time.as_millisecond());
    millis.map(Timestamp).map_err(|_| "is before 1970, which the bus cannot record".to_owned())
}

impl std::str::FromStr for Timestamp {
    type Err = String;

    /// Reads RFC 3339.
    fn from_str(text: &str) -> Result<Self, String> {
        parse_time(text)
    }
}

/// `Content-Type` as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaType {
    /// Type and subtype in lower case.
    pub essence: String,
    /// The `charset` parameter in lower case.
    pub charset: Option<String>,
}

impl MediaType {
    /// Takes `text` apart; anything is taken, so that the caller can say what it does not know.
    pub fn parse(text: &str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
        let charset = parts
            .filter_map(|part| part.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))
            .map(|(_, value)| value.trim().trim_matches('"').to_ascii_lowercase());
        Self { essence, charset }
    }

    /// Whether data of this type is JSON: `*/json` and `*/*+json`.
    pub fn is_json(&self) -> bool {
        self.essence
            .split_once('/')
            .is_some_and(|(_, subtype)| subtype == "json" || subtype.ends_with("+json"))
    }
}

/// Whether data of `content_type` is JSON; without one it is.
pub(super) fn is_json(content_type: Option<&str>) -> bool {
    content_type.is_none_or(|text| MediaType::parse(text).is_json())
}

/// `type/subtype` of RFC 2046, parameters left alone.
pub(super) fn check_media_type(text: &str) -> Result<(), String> {
    let is_token =
        |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    let essence = text.split(';').next().unwrap_or_default().trim();
    match essence.split_once('/') {
        Some((kind, subtype)) if is_token(kind) && is_token(subtype) => Ok(()),
        _ => Err("is no media type; write it like `application/json`".to_owned()),
    }
}

/// Whether some `%` is not followed by two hex digits.
pub(super) fn has_bad_percent(bytes: &[u8]) -> bool {
    let is_hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    bytes.iter().enumerate().any(|(at, byte)| *byte == b'%' && !(is_hex(at + 1) && is_hex(at + 2)))
}

fn is_uri_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(c)
}

/// The scheme and what stands behind its colon.
fn split_scheme(text: &str) -> (Option<&str>, &str) {
    let is_scheme = |s: &str| {
        s.starts_with(|c: char| c.is_ascii_alphabetic())
            && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    };
    match text.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (Some(scheme), rest),
        _ => (None, text),
    }
}

fn is_authority(authority: &str) -> bool {
    let host_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if authority.matches('@').count() > 1 {
        return false;
    }
    let (host, port) = match host_port.strip_prefix('[') {
        Some(literal) => match literal.split_once(']') {
            Some((inside, after)) if !inside.is_empty() => (
                "",
                after
                    .strip_prefix(':')
                    .or(Some(after))
                    .filter(|_| after.is_empty() || after.starts_with(':')),
            ),
            _ => return false,
        },
        None => host_port.split_once(':').map_or((host_port, Some("")), |(host, port)| (host, Some(port))),
    };
    let Some(port) = port else { return false };
    !host.contains(['[', ']']) && port.bytes().all(|b| b.is_ascii_digit())
}

/// `dddd-dd-ddTdd:dd:dd[.d+](Z|±dd:dd)`: the parser behind takes much more than RFC 3339.
fn has_time_shape(text: &[u8]) -> bool {
    let Some((head, tail)) = text.split_at_checked(19) else { return false };
    if !fits(head, b"dddd-dd-ddTdd:dd:dd") {
        return false;
    }
    let zone = match tail.strip_prefix(b".") {
        Some(rest) => {
            let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            if digits == 0 {
                return false;
            }
            rest.get(digits..).unwrap_or_default()
        }
        None => tail,
    };
    zone.eq_ignore_ascii_case(b"Z") || fits(zone, b"+dd:dd") || fits(zone, b"-dd:dd")
}

/// `d` stands for a digit, `T` for the letter in either case, all else for itself.
fn fits(text: &[u8], shape: &[u8]) -> bool {
    text.len() == shape.len()
        && text.iter().zip(shape).all(|(byte, want)| match want {
            b'd' => byte.is_ascii_digit(),
            b'T' => byte.eq_ignore_ascii_case(&b'T'),
            want => byte == want,
        })
}
