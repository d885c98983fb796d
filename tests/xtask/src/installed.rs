//! `cargo xtask package test`: whether the package installs, starts, serves and goes again, on this very machine.
//!
//! In the order of events: it is installed by dpkg; the unit's ExecStart runs as the unit's user, with the folders that
//! systemd would make, on a port that is free; a file is served under the policy of the configuration that came with it;
//! a reload and a stop; removing keeps the configuration, purging leaves nothing behind. systemd itself is not needed, and
//! what it confines is not tested here. Only root can do it, and only where the package is not installed.
use crate::command::{Result, command, output, run};
use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

const NAME: &str = "wasmserve";
const CONFIGURATION: &str = "/etc/wasmserve/wasmserve.toml";
const UNIT: &str = "/usr/lib/systemd/system/wasmserve.service";
const DROP_IN: &str = "/usr/lib/systemd/system/wasmserve.service.d/debian.conf";

/// What is there while the package is installed.
const INSTALLED: [&str; 8] = [
    "/usr/bin/wasmserve",
    "/usr/share/man/man1/wasmserve.1.gz",
    "/usr/share/bash-completion/completions/wasmserve",
    "/usr/share/zsh/vendor-completions/_wasmserve",
    "/usr/share/fish/vendor_completions.d/wasmserve.fish",
    "/usr/share/wasmserve/plugins/security-headers/security-headers.wasm",
    "/usr/lib/systemd/system/wasmserve.socket",
    "/etc/logrotate.d/wasmserve",
];

/// What only purging takes away.
const KEPT: [&str; 3] = [CONFIGURATION, "/var/lib/wasmserve", "/var/log/wasmserve"];

/// What the server may write to, as the unit says.
const FOLDERS: [(&str, &str); 3] = [
    ("STATE_DIRECTORY", "/var/lib/wasmserve"),
    ("CACHE_DIRECTORY", "/var/cache/wasmserve"),
    ("RUNTIME_DIRECTORY", "/run/wasmserve"),
];

/// How long anything may take: the first start compiles a policy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Installs a package, looks at all of it, and purges it again.
pub fn test(package: &Path) -> Result {
    if output(&mut command("id", &["-u"])).as_deref() != Some("0") {
        return Err("only root can install a package: run it as root, on a machine where that does no harm".into());
    }
    if Path::new(INSTALLED[0]).exists() || Path::new(CONFIGURATION).exists() {
        return Err(format!(
            "{NAME} is installed here already: purge it first (dpkg --purge {NAME})"
        ));
    }
    let tested = run(command("dpkg", &["--install"]).arg(package)).and_then(|()| exercise());
    // Whatever came of it, nothing stays.
    let purged = run(&mut command("dpkg", &["--purge", NAME]));
    tested?;
    purged?;
    for path in INSTALLED.iter().chain(&KEPT) {
        expect(
            !Path::new(path).exists(),
            &format!("{path} is left behind by the purge"),
        )?;
    }
    println!("\nthe package installs, serves and goes again");
    Ok(())
}

fn exercise() -> Result {
    for path in INSTALLED.iter().chain(&KEPT) {
        expect(Path::new(path).exists(), &format!("{path} is not there"))?;
    }
    let described = output(&mut command("dpkg-query", &["-W", "-f", "${Description}", NAME])).unwrap_or_default();
    expect(
        described.starts_with("HTTP file server"),
        &format!("it is described as {described:?}"),
    )?;
    let port = free_port()?;
    let text = read(CONFIGURATION)?;
    let configured = text.replace("[::]:8080", &format!("127.0.0.1:{port}"));
    expect(
        configured != text,
        "the configuration that comes with it does not listen on [::]:8080",
    )?;
    fs::write(CONFIGURATION, configured).map_err(|error| format!("{CONFIGURATION}: {error}"))?;
    run(&mut command(
        "/usr/bin/wasmserve",
        &["check", "--config", CONFIGURATION],
    ))?;
    let mut service = Service::start()?;
    let served = service.serve(port);
    service.stop()?;
    served?;
    run(&mut command("dpkg", &["--remove", NAME]))?;
    for path in KEPT {
        expect(
            Path::new(path).exists(),
            &format!("{path} is gone, although the package was only removed"),
        )?;
    }
    expect(!Path::new(INSTALLED[0]).exists(), "the server is still there")
}

/// The server, run as its unit says.
struct Service(Child);

impl Service {
    fn start() -> Result<Self> {
        let (unit, drop_in) = (read(UNIT)?, read(DROP_IN)?);
        let of = |text: &str, key: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(key).map(str::to_owned));
            value.ok_or_else(|| format!("the unit has no {key}"))
        };
        let (line, user) = (of(&unit, "ExecStart=")?, of(&drop_in, "User=")?);
        let mut words = line.split(' ');
        let program = words.next().unwrap_or_default();
        for (_, folder) in FOLDERS {
            run(&mut command(
                "install",
                &["-d", "-o", &user, "-g", &user, "-m", "0750", folder],
            ))?;
        }
        let identity = [format!("--reuid={user}"), format!("--regid={user}")];
        let mut start = Command::new("setpriv");
        start
            .args(identity)
            .args(["--clear-groups", "--no-new-privs", program])
            .args(words);
        start.current_dir("/").env_clear().envs(FOLDERS);
        crate::command::announce(&start);
        let child = start
            .spawn()
            .map_err(|error| format!("setpriv does not start: {error}"))?;
        Ok(Self(child))
    }

    fn serve(&mut self, port: u16) -> Result {
        let url = format!("http://127.0.0.1:{port}/");
        let ask = || output(&mut command("curl", &["-sSfi", &url]));
        let answer = self.eventually("it answers", ask)?;
        let lower = answer.to_ascii_lowercase();
        expect(lower.starts_with("http/1.1 200 "), &answer)?;
        expect(lower.contains("x-content-type-options: nosniff"), "no policy is asked")?;
        let owner = output(&mut command("ps", &["-o", "user=", "-p", &self.0.id().to_string()]));
        expect(owner.as_deref() == Some(NAME), &format!("it runs as {owner:?}"))?;
        let admin = || {
            let ready = [
                "-sSf",
                "--unix-socket",
                "/run/wasmserve/admin.sock",
                "http://localhost/readyz",
            ];
            output(&mut command("curl", &ready))
        };
        self.eventually("operators are answered", admin)?;
        self.signal("HUP")?;
        self.eventually("it answers after a reload", ask).map(drop)
    }

    /// What a question is answered with at last.
    fn eventually(&mut self, what: &str, ask: impl Fn() -> Option<String>) -> Result<String> {
        let begun = Instant::now();
        loop {
            if let Some(answer) = ask() {
                return Ok(answer);
            }
            if let Ok(Some(status)) = self.0.try_wait() {
                return Err(format!("the server ended before {what} ({status})"));
            }
            expect(begun.elapsed() < PATIENCE, &format!("it does not come to this: {what}"))?;
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn stop(&mut self) -> Result {
        self.signal("TERM")?;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            match self.0.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(100)),
                Ok(Some(status)) => return expect(status.success(), &format!("the server ended with {status}")),
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("the server does not stop".into())
    }

    fn signal(&self, name: &str) -> Result {
        run(&mut command("kill", &["-s", name, &self.0.id().to_string()]))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It has ended, or something went wrong.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> Result<u16> {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    port.map(|address| address.port())
        .map_err(|error| format!("no port is free: {error}"))
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

fn expect(holds: bool, otherwise: &str) -> Result {
    match holds {
        true => Ok(()),
        false => Err(otherwise.to_owned()),
    }
}
