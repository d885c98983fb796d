//! A file as tests and examples open it: the version is told by length and times, reading is done on the blocking pool.
use bytes::Bytes;
use rustix::fd::{AsFd, BorrowedFd};
use std::{
    io,
    os::unix::fs::{FileExt, MetadataExt},
    sync::{Arc, Mutex},
};
use tokio::task::spawn_blocking;
use wasmserve_transport::{File, Reading};

pub struct Plain {
    pub file: std::fs::File,
    version: Mutex<Version>,
}

type Version = (u64, (i64, i64), (i64, i64));

impl Plain {
    pub fn new(file: std::fs::File) -> io::Result<Self> {
        let version = Mutex::new(version(&file)?);
        Ok(Self { file, version })
    }

    /// What the file is now is what it was opened as.
    #[allow(dead_code, reason = "the example opens a file once")]
    pub fn renew(&self) -> io::Result<()> {
        *self.version.lock().unwrap() = version(&self.file)?;
        Ok(())
    }
}

fn version(file: &std::fs::File) -> io::Result<Version> {
    let metadata = file.metadata()?;
    Ok((
        metadata.len(),
        (metadata.mtime(), metadata.mtime_nsec()),
        (metadata.ctime(), metadata.ctime_nsec()),
    ))
}

impl AsFd for Plain {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl File for Plain {
    fn unchanged(&self) -> io::Result<()> {
        if version(&self.file)? == *self.version.lock().unwrap() {
            Ok(())
        } else {
            Err(io::Error::other("the file changed"))
        }
    }

    fn is_lendable(&self) -> bool {
        true
    }

    fn is_cached(&self, offset: u64, length: u64) -> bool {
        let mut byte = [0];
        let last = offset + length.saturating_sub(1);
        let flags = rustix::io::ReadWriteFlags::NOWAIT;
        [offset, last]
            .iter()
            .all(|at| rustix::io::preadv2(&self.file, &mut [io::IoSliceMut::new(&mut byte)], *at, flags).is_ok())
    }

    fn load(self: Arc<Self>, offset: u64, length: usize) -> Reading<()> {
        Box::pin(async move { self.read(offset, length).await.map(drop) })
    }

    fn read(self: Arc<Self>, offset: u64, length: usize) -> Reading<Bytes> {
        Box::pin(async move {
            spawn_blocking(move || {
                let mut content = vec![0; length];
                let mut filled = 0;
                while filled < length {
                    match self.file.read_at(&mut content[filled..], offset + filled as u64)? {
                        0 => break,
                        count => filled += count,
                    }
                }
                content.truncate(filled);
                self.unchanged()?;
                Ok(content.into())
            })
            .await?
        })
    }
}
