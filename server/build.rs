//! Lists the files that the program carries for `wasmserve new`: the SDKs with their templates, and the contract.
//!
//! Crates that do this were weighed: one embeds whatever lies in a folder, installed packages of other languages too; the
//! other's rules for leaving files out bring features into crates that the server has anyway, which compiles half of it
//! anew. What is needed is this walk.

use std::{
    env,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};

/// Where what is carried lies, and what its list is called.
const CARRIED: [(&str, &str); 2] = [("../plugins/sdk", "SDKS"), ("../wit", "CONTRACT")];

/// What tools leave behind; and the link to the contract that SDKs of the repository have, where a made folder has another.
const PASSED_OVER: [&str; 5] = ["target", "node_modules", "__pycache__", "dist", "wit"];

fn main() -> io::Result<()> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or(io::ErrorKind::NotFound)?);
    let made = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let mut source = String::new();
    for (folder, name) in CARRIED {
        let folder = here.join(folder).canonicalize()?;
        let mut files = Vec::new();
        find(&folder, &mut files)?;
        files.sort();
        let mut entries = String::new();
        for file in &files {
            let path = file
                .strip_prefix(&folder)
                .map_err(io::Error::other)?
                .display()
                .to_string();
            let _ = write!(entries, "({path:?}, include_bytes!({:?})),", file.display().to_string());
        }
        let _ = writeln!(
            source,
            "pub static {name}: [(&str, &[u8]); {}] = [{entries}];",
            files.len()
        );
    }
    fs::write(made.join("carried.rs"), source)
}

/// Every file of a folder and beneath it.
fn find(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if PASSED_OVER.iter().any(|passed| name == *passed) {
            continue;
        }
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_none_or(|extension| extension != "wasm") {
            // Not the folder: cargo looks at all that is in one, and building a plugin in Python leaves its cache there. A file
            // that is new is used by one that changes.
            println!("cargo:rerun-if-changed={}", path.display());
            files.push(path);
        }
    }
    Ok(())
}
