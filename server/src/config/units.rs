//! Sizes and durations as they are typed: always with a unit.

use bytesize::ByteSize;
use std::time::Duration;

/// A size in bytes, such as `64KiB`, `1.5 MiB` or `512B`.
///
/// # Errors
/// What is wrong, in words for the one who typed it. A number without a unit is refused: bytes, kilobytes or megabytes
/// are too easily mixed up.
pub fn size(text: &str) -> Result<u64, String> {
    let example = "a size has a number and a unit, such as \"64KiB\" or \"16MiB\"";
    if text.trim().parse::<f64>().is_ok() {
        return Err(format!("{text:?} has no unit: {example}"));
    }
    text.trim()
        .parse::<ByteSize>()
        .map(|size| size.as_u64())
        .map_err(|_| format!("{text:?} is not a size: {example}"))
}

/// A size as it is typed, without rounding.
pub fn exact_size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fits = units
        .iter()
        .find(|(bits, _)| bytes > 0 && bytes.trailing_zeros() >= *bits);
    match fits {
        Some((bits, unit)) => format!("{}{unit}", bytes >> bits),
        None => format!("{bytes}B"),
    }
}

/// A duration, such as `20ms`, `1s` or `1m 30s`.
///
/// # Errors
/// What is wrong, in words for the one who typed it.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim()).map_err(|_| {
        format!("{text:?} is not a duration: it has a number and a unit, such as \"20ms\", \"1s\" or \"1m 30s\"")
    })
}

/// A duration that is longer than nothing.
///
/// # Errors
/// As [`duration`].
pub fn positive(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be longer than nothing".into()),
        some => Ok(some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("64KiB", Some(65536)),
            ("64 KiB", Some(65536)),
            (" 1.5MiB ", Some(1_572_864)),
            ("1kB", Some(1000)),
            ("512B", Some(512)),
            ("64", None),
            ("", None),
            ("-1KiB", None),
            ("many", None),
            ("1 elephant", None),
        ] {
            assert_eq!(size(text).ok(), expected, "{text:?}");
        }
        for bytes in [0, 1, 1000, 1024, 1536, 3 << 20, 16 << 30, (1 << 40) + 1] {
            assert_eq!(size(&exact_size(bytes)), Ok(bytes), "{bytes}");
        }
    }

    #[test]
    fn durations() {
        for (text, expected) in [
            ("20ms", Some(Duration::from_millis(20))),
            ("1m 30s", Some(Duration::from_secs(90))),
            ("1s", Some(Duration::from_secs(1))),
            ("20", None),
            ("", None),
            ("-1s", None),
            ("soon", None),
        ] {
            assert_eq!(duration(text).ok(), expected, "{text:?}");
        }
    }
}
