//! Signatures of plugins: those of minisign, over the bytes of the plugin.
//!
//! Of an `https://` reference the signature lies beside the file, with `.minisig` behind its name; of an artifact it is an
//! annotation of the manifest. It is kept with the plugin and verified whenever that is read.

use base64ct::{Base64, Encoding};
use std::{fmt, str::FromStr};

/// A public key of minisign: the second line of what `minisign -G` calls minisign.pub.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    text: String,
    key: minisign_verify::PublicKey,
    id: String,
}

/// What follows the name of a signed file.
pub const ENDING: &str = ".minisig";

/// The annotation of an artifact's manifest that holds the signature of its only layer.
pub const ANNOTATION: &str = "dev.wasmserve.plugin.minisig";

/// No signature is longer: two comments and two lines.
pub const LONGEST: u64 = 16 << 10;

// === impl PublicKey ===

impl PublicKey {
    /// What minisign calls the key: 16 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether a signature is of these bytes by this key. Only signatures of the digest are taken, which minisign makes
    /// since 0.6; with them the trusted comment is signed too.
    ///
    /// # Errors
    /// Why not, to follow the name of what is signed.
    pub fn verify(&self, bytes: &[u8], signature: &str) -> Result<(), String> {
        let signature = minisign_verify::Signature::decode(signature)
            .map_err(|error| format!("has a signature that is none of minisign's: {error}"))?;
        self.key
            .verify(bytes, &signature, false)
            .map_err(|error| format!("is not signed by the key {}: {error}", self.id))
    }
}

/// Verifies that one of the keys signed these bytes with one of the signatures.
///
/// # Errors
/// Why none did, to follow the name of what is signed.
pub fn verify_any(keys: &[PublicKey], bytes: &[u8], signatures: &[String]) -> Result<(), String> {
    let mut reason = match keys {
        [key] => format!("has no signature, and one by the key {} is asked for", key.id),
        _ => "has no signature, and one is asked for".to_owned(),
    };
    for signature in signatures {
        for key in keys {
            match key.verify(bytes, signature) {
                Ok(()) => return Ok(()),
                Err(problem) => reason = problem,
            }
        }
    }
    Err(reason)
}

impl FromStr for PublicKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no public key of minisign: write the second line of minisign.pub, which begins with RW"
            )
        };
        let key = minisign_verify::PublicKey::from_base64(text).map_err(|_| wrong())?;
        // Two bytes for the algorithm, eight for the key's number with its lowest byte first, then the key.
        let bytes = Base64::decode_vec(text).map_err(|_| wrong())?;
        let number = bytes.get(2..10).ok_or_else(wrong)?;
        Ok(Self {
            id: number.iter().rev().map(|byte| format!("{byte:02X}")).collect(),
            text: text.to_owned(),
            key,
        })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "RWRunmlCtMzvLcWk7zqZ4TAex3n55fF6uKwG1idzy52T2W93+u5nVpAc";
    const OTHER: &str = "RWRDvgBlnIPSmYRndmn/fmWrjGzS+5JUZpjOz9TO3k9y5gQQj1kYeVc7";
    /// Of `plugin`, by the first key.
    const SIGNATURE: &str = "untrusted comment: signature from minisign secret key\n\
        RURunmlCtMzvLb1LGp0dP1V0PZep/eo9RrZ1+wsqfBiHHyTDFlCYuSDB8cnDCGQg8rkZhCm0Msqr+kyDVhlE+hmwtG6sbsHNAwE=\n\
        trusted comment: a test\n\
        yj5sr7bdg5lxzWubXu3jM6J4FU3yX/JUvPQToKEofJYqaM7W7U0jW+BuhrdK6YVxayxJTT3+lVwf1DFKJEZPCQ==\n";
    /// The same in the form from before 0.6.
    const LEGACY: &str = "untrusted comment: signature from minisign secret key\n\
        RWRunmlCtMzvLUgHlco77xVMgoB9eMLVgXnimLO3F4vlUk+2gWoMOyS/+c+YkTN1kMwQIIQJ9kgJ7hqxuYyqivdUkEsIf7egzAQ=\n\
        trusted comment: old\n\
        m1UyFWs8fxP7Alp9kLQz1ruPFAoZsT1CRA5/cYCVSARy/Wkgv8iiwGC3rSo5hVyle7LtLuJehr6DHW5BSSjhAQ==\n";

    #[test]
    fn a_signature_is_of_these_bytes_by_this_key() {
        let (key, other): (PublicKey, PublicKey) = (KEY.parse().unwrap(), OTHER.parse().unwrap());
        // What minisign's own file says of the key.
        assert_eq!(key.id(), "2DEFCCB442699E6E");
        assert_eq!(key.verify(b"plugin", SIGNATURE), Ok(()));
        for (key, bytes, signature) in [
            (&other, &b"plugin"[..], SIGNATURE),
            (&key, b"Plugin", SIGNATURE),
            (&key, b"", SIGNATURE),
            (&key, b"plugin", &SIGNATURE.replace("a test", "a tesT")),
            (&key, b"plugin", &SIGNATURE.replace("fBiHH", "fBiHh")),
            (&key, b"plugin", LEGACY),
            (&key, b"plugin", "no signature"),
            (&key, b"plugin", ""),
        ] {
            assert!(key.verify(bytes, signature).is_err(), "{signature}");
        }
    }

    #[test]
    fn one_of_several_is_enough_and_none_is_not() {
        let keys: Vec<PublicKey> = [OTHER, KEY].map(|key| key.parse().unwrap()).into();
        let signatures = ["no signature".to_owned(), SIGNATURE.to_owned()];
        assert_eq!(verify_any(&keys, b"plugin", &signatures), Ok(()));
        assert!(verify_any(&keys[..1], b"plugin", &signatures).is_err());
        let none = verify_any(&keys[1..], b"plugin", &[]).unwrap_err();
        assert!(
            none.contains("no signature") && none.contains("2DEFCCB442699E6E"),
            "{none}"
        );
        assert!(verify_any(&[], b"plugin", &signatures).is_err(), "no key signs nothing");
    }

    #[test]
    fn a_key_is_the_second_line_of_its_file() {
        for wrong in [
            "",
            "RW",
            &KEY[1..],
            &KEY.to_lowercase(),
            "untrusted comment: minisign public key",
            SIGNATURE,
        ] {
            assert!(wrong.parse::<PublicKey>().is_err(), "{wrong}");
        }
    }
}
