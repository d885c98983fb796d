//! Directives of Cache-Control (RFC 9111, section 5.2.2; RFC 5861; RFC 8246).

/// Those that have no argument.
const PLAIN: [&str; 8] = [
    "public",
    "private",
    "no-cache",
    "no-store",
    "no-transform",
    "must-revalidate",
    "proxy-revalidate",
    "must-understand",
];

/// Those that have seconds.
const SECONDS: [&str; 4] = ["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"];

/// Checks a value: a mistyped directive would be ignored by every cache.
///
/// # Errors
/// What is wrong, to follow the value.
pub fn check(value: &str) -> Result<(), String> {
    if value.trim() != value || value.is_empty() {
        return Err("is empty or has blanks around it".to_owned());
    }
    let mut seen = Vec::new();
    for directive in value.split(',').map(str::trim) {
        let (name, argument) = match directive.split_once('=') {
            Some((name, argument)) => (name, Some(argument)),
            None => (directive, None),
        };
        let digits = |argument: &str| !argument.is_empty() && argument.bytes().all(|byte| byte.is_ascii_digit());
        match argument {
            None if PLAIN.contains(&name) || name == "immutable" => {}
            Some(seconds) if SECONDS.contains(&name) && digits(seconds) => {}
            _ if SECONDS.contains(&name) => return Err(format!("has {directive:?}: expected {name}=SECONDS")),
            _ => {
                return Err(format!(
                    "has {directive:?}: known are {}, immutable and, with seconds, {}",
                    PLAIN.join(", "),
                    SECONDS.join(", ")
                ));
            }
        }
        if seen.contains(&name) {
            return Err(format!("has {name:?} twice"));
        }
        seen.push(name);
    }
    let contradicts = [("public", "private"), ("no-store", "max-age"), ("no-store", "public")];
    match contradicts
        .iter()
        .find(|(one, other)| seen.contains(one) && seen.contains(other))
    {
        Some((one, other)) => Err(format!("has both {one:?} and {other:?}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        for (value, fits) in [
            ("no-cache", true),
            ("no-store", true),
            ("public, max-age=3600", true),
            (
                "public,max-age=0,s-maxage=60,stale-while-revalidate=30, immutable",
                true,
            ),
            ("private, no-cache, must-revalidate", true),
            ("", false),
            (" no-cache", false),
            ("max-age", false),
            ("max-age=", false),
            ("max-age=1h", false),
            ("max-age: 60", false),
            ("max-age=-1", false),
            ("maxage=60", false),
            ("public max-age=60", false),
            ("public, private", false),
            ("no-store, max-age=60", false),
            ("max-age=60, max-age=61", false),
            ("no-cache,", false),
            ("immutable=1", false),
            ("no-cache\r\nX: y", false),
        ] {
            assert_eq!(check(value).is_ok(), fits, "{value:?}");
        }
    }
}
