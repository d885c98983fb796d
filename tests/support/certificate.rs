//! Certificates of servers under test, made by openssl.
use crate::tool;
use std::path::PathBuf;
use tempfile::TempDir;

/// A key and a certificate for `localhost` and 127.0.0.1 that it signed itself. Removed with this value.
pub struct Certificate {
    folder: TempDir,
}

impl Certificate {
    /// # Panics
    /// When openssl is not installed.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("the machine has room for temporary files");
        let certificate = Self { folder };
        certificate.openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key.pem -out cert.pem");
        certificate
    }

    /// Runs openssl in the folder.
    pub fn openssl(&self, arguments: &str) {
        tool::run(self.folder.path(), "openssl", arguments.split(' ')).success();
    }

    /// A file of the folder; `cert.pem` and `key.pem` are there.
    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Default for Certificate {
    fn default() -> Self {
        Self::new()
    }
}
