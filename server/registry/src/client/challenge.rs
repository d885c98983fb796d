//! What a server asks of us with 401: `WWW-Authenticate` (RFC 9110, section 11.6.1), as registries use it.

use http::{HeaderMap, header};

/// How a server wants to be told who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// A user and a password (RFC 7617).
    Basic,
    /// A token that another server gives (Docker's token authentication, which the distribution specification knows).
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

impl Challenge {
    /// The first challenge that is understood, tokens before passwords.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let fields = headers.get_all(header::WWW_AUTHENTICATE).iter();
        let challenges: Vec<Self> = fields
            .filter_map(|value| value.to_str().ok())
            .flat_map(challenges)
            .collect();
        let bearer = challenges.iter().find(|challenge| **challenge != Self::Basic);
        bearer.or(challenges.first()).cloned()
    }
}

/// The challenges of a field's value that are understood.
fn challenges(value: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    // A scheme is a word that no `=` follows; what follows it up to the next is its parameters.
    let mut schemes: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() && after.is_empty() {
            break;
        }
        match after.trim_start().strip_prefix('=') {
            Some(after) => {
                let Some((value, after)) = parameter(after.trim_start()) else {
                    break;
                };
                if let Some((_, parameters)) = schemes.last_mut() {
                    parameters.push((word.to_ascii_lowercase(), value));
                }
                rest = after;
            }
            None => {
                schemes.push((word.to_ascii_lowercase(), Vec::new()));
                rest = after;
            }
        }
    }
    for (scheme, parameters) in schemes {
        let get = |name: &str| {
            let found = parameters.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone())
        };
        match (&*scheme, get("realm")) {
            ("basic", _) => found.push(Challenge::Basic),
            ("bearer", Some(realm)) => found.push(Challenge::Bearer {
                realm,
                service: get("service"),
                scope: get("scope"),
            }),
            _ => {}
        }
    }
    found
}

/// A token or a quoted string, and what follows it. `None`: it has no end.
fn parameter(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer {
            realm: realm.into(),
            service: service.map(Into::into),
            scope: scope.map(Into::into),
        })
    }

    #[test]
    fn what_registries_ask() {
        for (values, expected) in [
            (&[][..], None),
            (&[""], None),
            (&["Negotiate"], None),
            (&["Basic realm=\"r, x\""], Some(Challenge::Basic)),
            (&["basic"], Some(Challenge::Basic)),
            (
                &[
                    "Bearer realm=\"https://auth.example/token\",service=\"r.example\",scope=\"repository:a/b:pull,push\"",
                ],
                bearer(
                    "https://auth.example/token",
                    Some("r.example"),
                    Some("repository:a/b:pull,push"),
                ),
            ),
            (&["BEARER Realm = \"r\" , x=y"], bearer("r", None, None)),
            (&["Basic realm=a, Bearer realm=\"b\""], bearer("b", None, None)),
            (&["Basic realm=\"a\"", "Bearer realm=\"b\""], bearer("b", None, None)),
            (&["Bearer realm=\"a\\\"b\""], bearer("a\"b", None, None)),
            (&["Bearer realm=\"never ends"], None),
            (&["Bearer service=x"], None),
            (&["=,=,"], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::WWW_AUTHENTICATE, value.parse().unwrap());
            }
            assert_eq!(Challenge::of(&headers), expected, "{values:?}");
        }
    }
}
