//! The file of a recording: its owner's alone, and bounded. When it is full it becomes `FILE.1`, in place of an older one,
//! and a new one is begun.

use rustix::fs::OFlags;
use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Why nothing can be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("cannot record to {}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("cannot record to {}: {problem}", .path.display())]
    Unfit { path: PathBuf, problem: &'static str },
}

/// A file that grows up to a limit.
#[derive(Debug)]
pub struct RecordFile {
    path: PathBuf,
    limit: u64,
    /// What each file begins with: a line, with its end.
    begin: Vec<u8>,
    file: File,
    bytes: u64,
    /// The last line may lack its end.
    torn: bool,
}

// === impl RecordFile ===

impl RecordFile {
    /// Opens a file to go on at its end.
    ///
    /// # Errors
    /// When it cannot be written, is no regular file, or is not its owner's alone.
    pub fn open(path: &Path, limit: u64, begin: Vec<u8>) -> Result<Self, RecordError> {
        let failed = |source| RecordError::Io {
            path: path.to_owned(),
            source,
        };
        let file = open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        let problem = if !found.is_file() {
            Some("it is no regular file")
        } else if found.uid() != rustix::process::geteuid().as_raw() {
            Some("it belongs to another user")
        } else if found.permissions().mode() & 0o077 != 0 {
            Some("others may read it: chmod 600")
        } else {
            None
        };
        if let Some(problem) = problem {
            let path = path.to_owned();
            return Err(RecordError::Unfit { path, problem });
        }
        let bytes = found.len();
        let mut opened = Self {
            path: path.to_owned(),
            limit,
            begin,
            torn: bytes > 0 && !ends_with_a_line(&file, bytes).map_err(failed)?,
            file,
            bytes,
        };
        let begin = opened.begin.clone();
        opened.append(&begin).map_err(failed)?;
        Ok(opened)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes whole lines, into as many files as it takes. A line that is longer than a file may be has one of its own.
    ///
    /// # Errors
    /// When they may not be there, or not all of them.
    pub fn write(&mut self, mut lines: &[u8]) -> io::Result<()> {
        while !lines.is_empty() {
            let mut now = self.fitting(lines);
            if now == 0 && self.bytes > self.begin.len() as u64 {
                self.turn()?;
                now = self.fitting(lines);
            }
            if now == 0 {
                let end = lines.iter().position(|byte| *byte == b'\n');
                now = end.map_or(lines.len(), |at| at + 1);
            }
            self.append(&lines[..now])?;
            lines = &lines[now..];
        }
        Ok(())
    }

    /// How many bytes of these lines, without cutting one, this file has room for.
    fn fitting(&self, lines: &[u8]) -> usize {
        let room = usize::try_from(self.limit.saturating_sub(self.bytes)).unwrap_or(usize::MAX);
        if lines.len() <= room {
            return lines.len();
        }
        lines[..room]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1)
    }

    /// Begins another file. The one before it is kept.
    fn turn(&mut self) -> io::Result<()> {
        match fs::rename(&self.path, before(&self.path)) {
            // Somebody has moved it away, or an earlier turn came only so far.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.file = open(&self.path)?;
        (self.bytes, self.torn) = (0, false);
        let begin = self.begin.clone();
        self.append(&begin)
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.write_all(b"\n")?;
            self.bytes += 1;
        }
        self.torn = true;
        self.file.write_all(lines)?;
        self.torn = false;
        self.bytes += lines.len() as u64;
        Ok(())
    }
}

/// The name of the file before this one.
pub fn before(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".1");
    name.into()
}

fn open(path: &Path) -> io::Result<File> {
    // Neither through a link that somebody put there, nor waiting for a reader of a pipe.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

fn ends_with_a_line(file: &File, bytes: u64) -> io::Result<bool> {
    let mut last = [0];
    file.read_exact_at(&mut last, bytes - 1)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::Permissions, os::unix::fs::symlink};

    const BEGIN: &[u8] = b"begin\n";

    fn path(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("record")
    }

    #[test]
    fn two_files_are_kept_and_each_begins_as_it_should() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = path(&folder);
        let mut file = RecordFile::open(&path, 21, BEGIN.to_vec()).expect("the folder is writable");
        // With what each file begins with, two lines are 22 bytes: one too many for the limit of 21.
        for line in ["one 789\n", "two 789\n", "three 9\n"] {
            file.write(line.as_bytes()).expect("the folder is writable");
        }
        let text = |path: &Path| fs::read_to_string(path).expect("it is there");
        assert_eq!(text(&before(&path)), "begin\ntwo 789\n");
        assert_eq!(text(&path), "begin\nthree 9\n");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 2);
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn lines_that_come_at_once_are_parted_where_a_file_is_full() {
        let text = |path: &Path| fs::read_to_string(path).expect("it is there");
        for (lines, last, now) in [
            ("one 789\ntwo 789\nthree 9\n", "two 789\n", "three 9\n"),
            ("1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\n5\n6\n7\n", "8\n9\n"),
            (
                "one 789\nlonger than a file may be\nx\n",
                "longer than a file may be\n",
                "x\n",
            ),
        ] {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let path = path(&folder);
            let mut file = RecordFile::open(&path, 21, BEGIN.to_vec()).expect("the folder is writable");
            file.write(lines.as_bytes()).expect("the folder is writable");
            assert_eq!(text(&before(&path)), format!("begin\n{last}"), "{lines:?}");
            assert_eq!(text(&path), format!("begin\n{now}"), "{lines:?}");
        }
    }

    #[test]
    fn a_torn_line_stays_a_line() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = path(&folder);
        fs::write(&path, "begin\nto").expect("the folder is writable");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("it is ours");
        let mut file = RecordFile::open(&path, 1000, BEGIN.to_vec()).expect("the folder is writable");
        file.write(b"one\n").expect("the folder is writable");
        assert_eq!(
            fs::read_to_string(&path).expect("it is there"),
            "begin\nto\nbegin\none\n"
        );
    }

    #[test]
    fn others_files_are_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = path(&folder);
        fs::write(&path, "").expect("the folder is writable");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("it is ours");
        let opened = |path: &Path| RecordFile::open(path, 1000, BEGIN.to_vec());
        assert!(matches!(opened(&path), Err(RecordError::Unfit { .. })));
        let link = folder.path().join("link");
        symlink(&path, &link).expect("the folder is writable");
        assert!(matches!(opened(&link), Err(RecordError::Io { .. })));
        assert!(matches!(opened(folder.path()), Err(RecordError::Io { .. })));
    }
}
