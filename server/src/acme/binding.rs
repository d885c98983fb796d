//! External account binding (RFC 8555, section 7.3.4): some authorities make accounts only for those whom they know already,
//! by a key that they have given them.

use base64ct::{Base64Url, Base64UrlUnpadded, Encoding};
use instant_acme::ExternalAccountKey;
use std::{fs, io, path::PathBuf};

/// How an authority knows the operator already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// What it calls the key.
    pub key_id: String,
    /// A file with the key, in base64url.
    pub key_file: PathBuf,
}

/// Why the key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BindingError {
    #[error("cannot read {}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} has no key in base64url", .path.display())]
    NoKey { path: PathBuf },
}

// === impl Binding ===

impl Binding {
    /// Reads the key. Blocks.
    ///
    /// # Errors
    /// When the file has none.
    pub fn key(&self) -> Result<ExternalAccountKey, BindingError> {
        let path = || self.key_file.clone();
        let text = fs::read_to_string(&self.key_file).map_err(|source| BindingError::Read { path: path(), source })?;
        // Authorities print it with and without padding.
        let text = text.trim();
        let key = Base64UrlUnpadded::decode_vec(text).or_else(|_| Base64Url::decode_vec(text));
        match key {
            Ok(key) if !key.is_empty() => Ok(ExternalAccountKey::new(self.key_id.clone(), &key)),
            _ => Err(BindingError::NoKey { path: path() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_with_and_without_padding() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let key_file = folder.path().join("key");
        for (text, good) in [
            ("c2VjcmV0LWtleQ", true),
            ("c2VjcmV0LWtleQ==\n", true),
            ("_-8", true),
            ("", false),
            ("\n", false),
            ("+/8", false),
            ("not base64", false),
        ] {
            fs::write(&key_file, text).expect("a file");
            let key_file = key_file.clone();
            let key_id = "id".to_owned();
            assert_eq!(Binding { key_id, key_file }.key().is_ok(), good, "{text:?}");
        }
    }
}
