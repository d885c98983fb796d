//! A `wasmserve.toml` with the folders that it names.
use crate::{Launch, Server, project};
use rustix::process::Signal;
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// A folder with a `wasmserve.toml`, roots and plugins beside it. Removed with this value.
pub struct Hosting {
    folder: TempDir,
}

impl Default for Hosting {
    fn default() -> Self {
        Self::new()
    }
}

impl Hosting {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("the machine has room for temporary files");
        Self { folder }
    }

    /// Writes a file, making the folders above it.
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.write(path, content);
        self
    }

    /// Writes a file as a careful operator does: nobody ever sees a part of it.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("the folder is writable");
        let aside = path.with_extension("aside");
        fs::write(&aside, content).expect("the folder is writable");
        fs::rename(aside, path).expect("the folder is writable");
    }

    /// The folder of a guest of `tests/guests`, under its name.
    pub fn guest(self, name: &str) -> Self {
        let source = project().join("tests/guests").join(name);
        symlink(source, self.at(name)).expect("the folder is writable");
        self
    }

    /// Writes `wasmserve.toml`: one listener on a free port of loopback, and these tables.
    pub fn config(self, sites: &str) -> Self {
        self.configure("", sites);
        self
    }

    /// Writes `wasmserve.toml` anew, with further lines of `[server]`.
    pub fn configure(&self, server: &str, sites: &str) {
        let listen = match server.contains("listen") {
            true => "",
            false => "listen = [\"127.0.0.1:0\"]",
        };
        self.write("wasmserve.toml", format!("[server]\n{listen}\n{server}\n{sites}\n"));
    }

    pub fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(path)
    }

    pub fn launch(&self) -> Launch {
        Launch::bare()
            .arguments(["--config"])
            .arguments([self.at("wasmserve.toml")])
    }

    #[track_caller]
    pub fn start(&self) -> Server {
        self.launch().start()
    }
}

impl Server {
    /// Asks for a reload (SIGHUP), and waits until this generation serves.
    #[track_caller]
    pub fn reload(&self, generation: u64) -> String {
        self.signal(Signal::HUP);
        self.logged(&format!("generation={generation} "))
    }

    /// Asks for a reload (SIGHUP) of what cannot be used, and waits until the server has said so.
    #[track_caller]
    pub fn reload_in_vain(&self, problem: &str) -> String {
        self.signal(Signal::HUP);
        self.logged("not reloaded");
        self.logged(problem)
    }

    /// A request to a host.
    #[track_caller]
    pub fn get_from(&self, host: &str, target: &str) -> crate::Response {
        self.request("GET", target, &[("Host", host)])
    }
}
