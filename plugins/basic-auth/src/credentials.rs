//! What `Authorization` holds.
use base64ct::{Base64, Encoding};

/// A user name and a password, as sent (RFC 7617, section 2).
pub struct Credentials {
    pub user: String,
    pub password: Vec<u8>,
}

impl Credentials {
    /// The credentials of a field value; `None` when it is of another scheme or malformed. The scheme's case does not
    /// matter. The first colon ends the name; a password may hold more of them.
    pub fn parse(field: &str) -> Option<Self> {
        let (scheme, encoded) = field.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let mut user = Base64::decode_vec(encoded.trim_matches(' ')).ok()?;
        let colon = user.iter().position(|byte| *byte == b':')?;
        let password = user.split_off(colon + 1);
        user.truncate(colon);
        // A name that is not UTF-8 is nobody's, and becomes another name that is nobody's.
        Some(Self {
            user: String::from_utf8_lossy(&user).into_owned(),
            password,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_what_they_hold() {
        for (field, expected) in [
            ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", Some(("Aladdin", "open sesame"))), // RFC 7617, section 2
            ("Basic dGVzdDoxMjPCow==", Some(("test", "123£"))),                       // section 2.1
            (
                "bAsIc   QWxhZGRpbjpvcGVuIHNlc2FtZQ== ",
                Some(("Aladdin", "open sesame")),
            ),
            ("Basic YTpiOmM=", Some(("a", "b:c"))),
            ("Basic Og==", Some(("", ""))),
            ("Basic YTo=", Some(("a", ""))),
            ("Basic /zpi", Some(("\u{fffd}", "b"))),
            ("Basic YQ==", None), // no colon
            ("Basic YTo", None),  // no padding
            ("Basic YTpi, Basic YTpi", None),
            ("Basic", None),
            ("Basic ", None),
            ("BasicYTpi", None),
            ("Bearer YTpi", None),
            ("YTpi", None),
            ("", None),
        ] {
            let credentials = Credentials::parse(field);
            let found = credentials
                .as_ref()
                .map(|found| (&*found.user, str::from_utf8(&found.password).unwrap()));
            assert_eq!(found, expected, "{field:?}");
        }
    }
}
