//! What is kept from one start to the next: the account with an authority, and each name's certificate with its key, in one
//! file, so that the two always match. For its owner alone, written aside and renamed.

use super::{is_certifiable, schedule::Lifetime};
use rustix::fs::{FlockOperation, flock};
use rustls::{
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use x509_cert::{Certificate, der::Decode};

/// What belongs to one authority.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
}

/// A certificate with its key, ready to be shown.
#[derive(Clone, Debug)]
pub struct Stored {
    pub key: Arc<CertifiedKey>,
    pub lifetime: Lifetime,
}

/// Nobody else orders for the name while this is held, in this process or another.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "closing it gives the lock back")] File);

/// Why nothing can be kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot keep certificates in {}", .folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    #[error("{} is open to others (mode {mode:o}): keys are kept there; chmod 700", .folder.display())]
    Open { folder: PathBuf, mode: u32 },
    #[error("{} belongs to the user {owner}, not to the one who serves: keys are kept there", .folder.display())]
    Owner { folder: PathBuf, owner: u32 },
}

/// Why what is stored cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UnusableError {
    #[error("cannot be read")]
    Read(#[from] io::Error),
    #[error("is not PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error("cannot be used")]
    Unusable(#[from] rustls::Error),
    #[error("has no certificate whose time can be read")]
    Certificate,
}

const ACCOUNT: &str = "account.json";

/// How the file of a name ends.
const CERTIFICATE: &str = ".pem";

/// Who may enter the folder, and read what is in it: its owner.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

// === impl Store ===

impl Store {
    /// Opens, or makes, the folder of an authority within one that is for its owner alone. Blocks.
    ///
    /// # Errors
    /// When others could read it.
    pub fn open(folder: &Path, directory: &str) -> Result<Self, StoreError> {
        let cannot = |source| StoreError::Folder {
            folder: folder.to_owned(),
            source,
        };
        let of_authority = folder.join(name_of(directory));
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(FOLDER_MODE);
        builder.create(&of_authority).map_err(cannot)?;
        let metadata = fs::symlink_metadata(folder).map_err(cannot)?;
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(StoreError::Owner {
                folder: folder.to_owned(),
                owner: metadata.uid(),
            });
        }
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(StoreError::Open {
                folder: folder.to_owned(),
                mode,
            });
        }
        Ok(Self { folder: of_authority })
    }

    /// Whether it is that of an authority within this folder.
    pub fn is_at(&self, folder: &Path, directory: &str) -> bool {
        self.folder == folder.join(name_of(directory))
    }

    /// What is kept for a name. Blocks.
    ///
    /// # Errors
    /// When it is there and cannot be used.
    pub fn certificate(&self, name: &str) -> Result<Option<Stored>, UnusableError> {
        match fs::read(self.at(name)) {
            Ok(text) => Stored::read(&text).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The names that something is kept for. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let file = entry?.file_name();
            let name = file.to_str().and_then(|file| file.strip_suffix(CERTIFICATE));
            names.extend(name.filter(|name| is_certifiable(name)).map(str::to_owned));
        }
        Ok(names)
    }

    /// Keeps a key and a chain of certificates (PEM) for a name, once they are known to go together. Blocks.
    ///
    /// # Errors
    /// When they do not, or cannot be written.
    pub fn keep(&self, name: &str, key: &str, chain: &str) -> Result<Stored, UnusableError> {
        let text = format!("{}\n{}\n", key.trim_end(), chain.trim_end());
        let stored = Stored::read(text.as_bytes())?;
        self.write(&self.at(name), text.as_bytes())?;
        Ok(stored)
    }

    /// The account with the authority, as it was kept. Blocks.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn account(&self) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.folder.join(ACCOUNT)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps the account. Blocks.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_account(&self, text: &[u8]) -> io::Result<()> {
        self.write(&self.folder.join(ACCOUNT), text)
    }

    /// The authority knows the account no longer. Blocks.
    pub fn forget_account(&self) {
        // Where it cannot be removed, the next order fails in the same way and says so.
        let _ = fs::remove_file(self.folder.join(ACCOUNT));
    }

    /// Takes the right to order for a name; `None`: another process has it. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn lock(&self, name: &str) -> io::Result<Option<Lock>> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(FILE_MODE);
        let file = options.open(self.folder.join(format!("{name}.lock")))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}{CERTIFICATE}"))
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let aside = path.with_extension("new");
        let mut options = OpenOptions::new();
        options.create(true).truncate(true).write(true).mode(FILE_MODE);
        let mut file = options.open(&aside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        File::open(&self.folder)?.sync_all()
    }
}

/// A folder's name from the URL of an authority's directory.
fn name_of(directory: &str) -> String {
    let without_scheme = directory.split_once("://").map_or(directory, |(_, rest)| rest);
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    without_scheme.trim_end_matches('/').chars().map(plain).collect()
}

// === impl Stored ===

impl Stored {
    fn read(text: &[u8]) -> Result<Self, UnusableError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(text)?;
        let lifetime = chain.first().and_then(|first| lifetime(first));
        let lifetime = lifetime.ok_or(UnusableError::Certificate)?;
        // The key is that of the first certificate, or this fails.
        let key = CertifiedKey::from_der(chain, key, &default_provider())?;
        Ok(Self {
            key: Arc::new(key),
            lifetime,
        })
    }
}

fn lifetime(certificate: &[u8]) -> Option<Lifetime> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let validity = certificate.tbs_certificate().validity();
    let at = |since_1970: Duration| SystemTime::UNIX_EPOCH.checked_add(since_1970);
    Some(Lifetime {
        from: at(validity.not_before.to_unix_duration())?,
        until: at(validity.not_after.to_unix_duration())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn pair(name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        (
            key.serialize_pem(),
            params.self_signed(&key).expect("a certificate").pem(),
        )
    }

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(&folder.path().join("acme"), "https://ca.example/directory").expect("a store");
        (folder, store)
    }

    #[test]
    fn what_is_kept_is_found_again_and_for_its_owner_alone() {
        let (folder, store) = store();
        assert!(store.certificate("a.example").expect("nothing is wrong").is_none());
        let (key, chain) = pair("a.example");
        let kept = store.keep("a.example", &key, &chain).expect("it is kept");
        let found = store
            .certificate("a.example")
            .expect("it is whole")
            .expect("it is there");
        assert_eq!(
            (found.key.cert.clone(), found.lifetime),
            (kept.key.cert.clone(), kept.lifetime)
        );
        let file = folder.path().join("acme/ca.example-directory/a.example.pem");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(&folder.path().join("acme"))), (0o600, 0o700));
        store.keep_account(b"{}").expect("it is kept");
        assert_eq!(store.account().expect("it is there"), Some(b"{}".to_vec()));
        store.forget_account();
        assert_eq!(store.account().expect("nothing is wrong"), None);
    }

    #[test]
    fn a_key_of_another_certificate_is_never_kept() {
        let (_folder, store) = store();
        let ((key, chain), (other, _)) = (pair("a.example"), pair("a.example"));
        store.keep("a.example", &key, &chain).expect("it is kept");
        assert!(store.keep("a.example", &other, &chain).is_err());
        assert!(store.keep("a.example", &key, "").is_err());
        assert!(store.certificate("a.example").expect("the first is whole").is_some());
    }

    #[test]
    fn a_folder_that_others_can_enter_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("acme");
        fs::create_dir(&path).expect("a folder");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).expect("it is ours");
        let refused = Store::open(&path, "https://ca.example/")
            .expect_err("it is open")
            .to_string();
        assert!(refused.contains("mode 750"), "{refused}");
    }

    #[test]
    fn one_at_a_time_orders_for_a_name() {
        let (_folder, store) = store();
        let lock = store.lock("a.example").expect("it can be written").expect("it is free");
        assert!(store.lock("a.example").expect("it can be written").is_none());
        assert!(store.lock("b.example").expect("it can be written").is_some());
        drop(lock);
        assert!(store.lock("a.example").expect("it can be written").is_some());
    }
}
