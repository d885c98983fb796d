//! `cargo xtask serve`: from a fresh clone to a running server.
use crate::{
    build,
    command::{Result, announce},
    setup,
};

/// Serves `.` under `plugins/` until it is stopped. What the person gave is handed to the server.
pub fn run(arguments: &[String]) -> Result {
    setup::for_build()?;
    build::server()?;
    build::plugins()?;
    let mut server = build::wasmserve(&["--root", ".", "--plugins", "plugins/"]);
    server.args(arguments);
    announce(&server);
    let status = server.status().map_err(|e| format!("the server does not start: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("the server ended with {status}"))
    }
}
