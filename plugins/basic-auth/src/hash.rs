//! Password hashes: read from their text, and compared with a password in constant time.
use argon2::{Algorithm, Argon2, Params, Version, password_hash::phc};
use base64ct::{Base64Bcrypt, Encoding};
use subtle::ConstantTimeEq;

/// What a hash was made with, and what came out of it.
pub struct PasswordHash {
    function: Function,
    digest: Vec<u8>,
}

enum Function {
    Argon2 {
        argon2: Box<Argon2<'static>>,
        salt: Vec<u8>,
    },
    Bcrypt {
        cost: u32,
        salt: [u8; 16],
    },
}

/// What a bcrypt digest has of the 24 bytes that are computed: one is dropped by its text.
const BCRYPT_DIGEST: usize = 23;

/// What bcrypt looks at of a password and the NUL behind it.
const BCRYPT_PASSWORD: usize = 72;

impl PasswordHash {
    /// Reads `$argon2id$`, `$argon2i$` and `$argon2d$` (PHC strings) and `$2a$`, `$2b$` and `$2y$` (bcrypt).
    ///
    /// # Errors
    /// What is wrong, without the text: it may be a password that was put there by mistake.
    pub fn parse(text: &str) -> Result<Self, String> {
        let version = text.strip_prefix('$').and_then(|rest| rest.split('$').next());
        match version {
            Some("2a" | "2b" | "2y") => bcrypt(text),
            Some("argon2id" | "argon2i" | "argon2d") => argon2(text),
            Some("apr1" | "1" | "5" | "6" | "y") => Err(weak("an MD5 or crypt hash")),
            _ if text.starts_with("{SHA}") => Err(weak("a SHA-1 hash")),
            _ if is_des(text) => Err(weak("perhaps a crypt hash")),
            _ => Err("is neither an argon2 nor a bcrypt hash; `wasmserve password` makes one".to_owned()),
        }
    }

    /// Whether it was made of this password.
    ///
    /// # Errors
    /// The hash cannot be computed: its memory cannot be had.
    pub fn is_of(&self, password: &[u8]) -> Result<bool, String> {
        let mut digest = vec![0; self.digest.len()];
        match &self.function {
            Function::Argon2 { argon2, salt } => argon2
                .hash_password_into(password, salt, &mut digest)
                .map_err(|error| format!("the password's argon2 hash cannot be computed: {error}"))?,
            Function::Bcrypt { cost, salt } => {
                let mut terminated = password.to_vec();
                terminated.push(0);
                terminated.truncate(BCRYPT_PASSWORD);
                digest.copy_from_slice(&bcrypt::bcrypt(*cost, *salt, &terminated)[..BCRYPT_DIGEST]);
            }
        }
        Ok(digest.ct_eq(&self.digest).into())
    }

    /// What only the configuration knows of it.
    pub fn secret(&self) -> &[u8] {
        &self.digest
    }
}

/// What to do about hashes that other servers take and this one does not.
fn weak(kind: &str) -> String {
    format!("has {kind}, which is not taken here: make a new one with `htpasswd -B` or `wasmserve password`")
}

/// The shape of the oldest crypt(3): thirteen characters.
fn is_des(text: &str) -> bool {
    text.len() == 13
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"./".contains(&byte))
}

fn argon2(text: &str) -> Result<PasswordHash, String> {
    let malformed = |error: &dyn std::fmt::Display| format!("is not a valid argon2 hash: {error}");
    let parsed = phc::PasswordHash::new(text).map_err(|error| malformed(&error))?;
    let algorithm = Algorithm::new(parsed.algorithm.as_str()).map_err(|error| malformed(&error))?;
    // Texts from before versions were written are of the first.
    let version = parsed
        .version
        .map_or(Ok(Version::V0x10), Version::try_from)
        .map_err(|error| malformed(&error))?;
    let params = Params::try_from(&parsed).map_err(|error| malformed(&error))?;
    let (Some(salt), Some(digest)) = (parsed.salt, parsed.hash) else {
        return Err(malformed(&"its salt or its digest is missing"));
    };
    if salt.len() < argon2::MIN_SALT_LEN {
        return Err(malformed(&"its salt is too short"));
    }
    let argon2 = Box::new(Argon2::new(algorithm, version, params));
    let function = Function::Argon2 {
        argon2,
        salt: salt.to_vec(),
    };
    Ok(PasswordHash {
        function,
        digest: digest.as_bytes().to_vec(),
    })
}

/// `$2b$`, two digits, `$`, 22 characters of salt, 31 of digest.
fn bcrypt(text: &str) -> Result<PasswordHash, String> {
    let read = || {
        let (cost, encoded) = text.get(4..)?.split_once('$')?;
        let cost = Some(cost)
            .filter(|cost| cost.len() == 2 && cost.bytes().all(|byte| byte.is_ascii_digit()))?
            .parse()
            .ok()?;
        let (salt, digest) = encoded.split_at_checked(22)?;
        let salt = Base64Bcrypt::decode_vec(salt).ok()?.try_into().ok()?;
        let digest = Base64Bcrypt::decode_vec(digest)
            .ok()
            .filter(|digest| digest.len() == BCRYPT_DIGEST)?;
        (4..=31).contains(&cost).then_some(PasswordHash {
            function: Function::Bcrypt { cost, salt },
            digest,
        })
    };
    read().ok_or_else(|| "is not a valid bcrypt hash: it has 60 characters and a cost from 04 to 31".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the reference implementation's tests (argon2) and crypt(3) of libxcrypt (bcrypt).
    const HASHES: [(&str, &str); 7] = [
        (
            "password",
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        ),
        (
            "password",
            "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
        ),
        (
            "password",
            "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8",
        ),
        (
            "password",
            "$argon2i$m=256,t=2,p=1$c29tZXNhbHQ$/U3YPXYsSb3q9XxHvc0MLxur+GP960kN9j7emXX8zwY",
        ),
        ("secret", "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"),
        ("secret", "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"),
        ("secret", "$2a$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"),
    ];

    #[test]
    fn hashes_of_others_are_understood() {
        for (password, text) in HASHES {
            let hash = PasswordHash::parse(text).unwrap_or_else(|error| panic!("{text} {error}"));
            assert_eq!(hash.is_of(password.as_bytes()), Ok(true), "{text}");
            for wrong in ["", "Password", "password ", "secret\0", "secre"] {
                assert_eq!(hash.is_of(wrong.as_bytes()), Ok(false), "{text} of {wrong:?}");
            }
        }
    }

    #[test]
    fn a_changed_digest_is_another() {
        for (password, text) in HASHES {
            // Not the last character, whose last bits may mean nothing.
            let at = text.len() - 5;
            let other = if &text[at..=at] == "A" { "B" } else { "A" };
            let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            assert_eq!(
                PasswordHash::parse(&changed).unwrap().is_of(password.as_bytes()),
                Ok(false),
                "{changed}"
            );
        }
    }

    #[test]
    fn bcrypt_looks_at_72_bytes() {
        let long = "0123456789".repeat(8);
        let hash = PasswordHash::parse("$2b$05$abcdefghijklmnopqrstuuLkMZtUsVwf9Ptg/wgiNv8ZhtnAHnix.").unwrap();
        assert_eq!(hash.is_of(long.as_bytes()), Ok(true));
        assert_eq!(hash.is_of(&long.as_bytes()[..72]), Ok(true));
        assert_eq!(hash.is_of(&long.as_bytes()[..71]), Ok(false));
    }

    #[test]
    fn what_is_no_hash() {
        for text in [
            "",
            "secret",
            "$",
            "$1$salt$digest",
            "$apr1$Q1x.7iRk$YZ0iCtC.W8yOHdGyNGPRj/",
            "$6$saltsalt$digest",
            "$y$j9T$salt$digest",
            "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
            "rqXexS6ZhobKA",
            "$2x$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
            "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0",
            "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0aa",
            "$2b$03$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
            "$2b$32$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
            "$2b$5$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0aa",
            "$2b$+5$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
            "$2b$05$abcdefghijklmnopqrstü/QiyCxlgf/oeuTqixKmWdcYUh4Hjl0aab",
            "$2b$05$abcdefghijklmnopqrst uOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ",
            "$argon2id$v=19$m=256,t=2,p=1",
            "$argon2id$v=20$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=19$m=1,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=19$m=256,t=0,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=19$m=256,t=2,p=1$c29t$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2x$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        ] {
            let error = PasswordHash::parse(text).err();
            let error = error.unwrap_or_else(|| panic!("{text:?} is taken for a hash"));
            assert!(text.len() < 2 || !error.contains(text), "{error}");
        }
    }
}
