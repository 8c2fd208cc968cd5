//! JSON checked without a tree.

use serde::de::IgnoredAny;

/// How deep arrays and objects may be nested: what the decoder of the steps takes.
pub const DEPTH_MAX: usize = 127;

/// Checks that `bytes` are one JSON value nested at most [`DEPTH_MAX`] deep.
///
/// # Errors
/// What is wrong and at which line and column, ready to be shown.
pub fn check_json(bytes: &[u8]) -> Result<(), String> {
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(bytes) {
        return Err(not_json(&error));
    }
    if std::str::from_utf8(bytes).is_err() {
        return Err("is not UTF-8".to_owned());
    }
    check_depth(bytes)
}

/// The message for a text that is no JSON.
pub(super) fn not_json(error: &serde_json::Error) -> String {
    format!("is no JSON: {error}")
}

/// Checks the nesting of `bytes`, which are JSON. Skipping a value knows no limit; decoding it does.
pub(super) fn check_depth(bytes: &[u8]) -> Result<(), String> {
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    for byte in bytes {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(format!("is nested over {DEPTH_MAX} deep"));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}
