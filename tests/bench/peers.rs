//! The contestants: how each is started over the same files, tuned as its own documentation advises.
use crate::{
    Settings,
    load::{self, Load},
    site::{SIZES, Site},
    tokens,
};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use support::{Chain, Hosting, Launch, Policy, Server, process, project, tool};
use tempfile::TempDir;

/// A server that is running. Ended when dropped, with the processes it started.
pub struct Peer {
    pub name: String,
    pub address: SocketAddr,
    /// Fields that every request needs to be let through.
    pub headers: &'static [(&'static str, &'static str)],
    running: Running,
}

enum Running {
    Other { child: Child, _folder: TempDir },
    Ours { server: Server, _kept: Keeping },
}

/// A folder that a server reads from, kept as long as it runs.
#[allow(dead_code, reason = "nobody reads them: they are removed when dropped")]
enum Keeping {
    Nothing,
    Chain(Chain),
    Hosting(Hosting),
}

/// What may be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A plain epoll loop in C that answers a constant of 1 KiB.
    Floor,
    Nginx,
    NginxWithoutSendfile,
    /// A header is checked by Lua.
    NginxLua,
    /// A header is checked by JavaScript, through auth_request.
    NginxNjs,
    NginxBasicAuth,
    /// A token signed by RS256 is checked by JavaScript, through auth_request.
    NginxToken,
    /// So many servers, each of its own name, over the same files.
    NginxSites(usize),
    Lighttpd,
    Caddy,
    StaticWebServer,
    /// Its StaticFileHandler.
    Tornado,
    /// A handler that writes and flushes chunk by chunk.
    TornadoFlush,
    /// A constant, behind a WebAssembly filter that checks a header.
    EnvoyWasm,
    Ours(Ours),
}

/// How wasmserve is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ours {
    NoPlugins,
    /// The same, with a line of the access log for each request, as users have it by default.
    WithAccessLog,
    /// The same, with the kernel copying files on loopback too.
    SendfileAlways,
    /// The three standard policies, decisions kept.
    Kept,
    /// The three standard policies, each called for every request, from its snapshot.
    Fresh,
    /// As that, each in an instance that earlier requests used: what other servers do with theirs.
    Reused,
    /// The same as `Kept`, with compiled code on disk since the first start.
    KeptWarm,
    /// So many policies.
    Policies(usize),
    /// The policy `jwt`, whose decision about a token is kept.
    TokenKept,
    /// The same, with the token checked for every request.
    TokenFresh,
    /// As many files kept open as nginx is told to keep here, as far as descriptors go.
    ManyFiles,
    /// So many sites, each of its own host, over the same files.
    Sites(usize),
    /// The same, each with a policy that is configured differently.
    SitesWithPolicy(usize),
}

/// The field that the peers' policies look for.
const KEY: &[(&str, &str)] = &[("X-Key", "open")];
const BASIC: &[(&str, &str)] = &[("Authorization", "Basic YWxpY2U6c2VjcmV0")];

impl Kind {
    pub fn name(self) -> String {
        match self {
            Self::Floor => "C epoll loop (floor)".into(),
            Self::Nginx => "nginx".into(),
            Self::NginxWithoutSendfile => "nginx, sendfile off".into(),
            Self::NginxLua => "nginx with Lua".into(),
            Self::NginxNjs => "nginx with njs".into(),
            Self::NginxBasicAuth => "nginx auth_basic".into(),
            Self::NginxToken => "nginx with njs, RS256".into(),
            Self::NginxSites(_) => "nginx".into(),
            Self::Lighttpd => "lighttpd".into(),
            Self::Caddy => "Caddy".into(),
            Self::StaticWebServer => "static-web-server".into(),
            Self::Tornado => "Tornado".into(),
            Self::TornadoFlush => "Tornado, flush()".into(),
            Self::EnvoyWasm => "Envoy with Wasm".into(),
            Self::Ours(Ours::NoPlugins) => "wasmserve".into(),
            Self::Ours(Ours::WithAccessLog) => "wasmserve, access log".into(),
            Self::Ours(Ours::SendfileAlways) => "wasmserve, sendfile always".into(),
            Self::Ours(Ours::Kept) => "wasmserve, 3 policies, kept".into(),
            Self::Ours(Ours::Fresh) => "wasmserve, 3 policies, fresh".into(),
            Self::Ours(Ours::Reused) => "wasmserve, 3 policies, instances reused".into(),
            Self::Ours(Ours::KeptWarm) => "wasmserve, 3 policies, code on disk".into(),
            Self::Ours(Ours::TokenKept) => "wasmserve, jwt, kept".into(),
            Self::Ours(Ours::TokenFresh) => "wasmserve, jwt, fresh".into(),
            Self::Ours(Ours::ManyFiles) => "wasmserve, cached-files 10,000".into(),
            Self::Ours(Ours::Sites(_)) => "wasmserve".into(),
            Self::Ours(Ours::SitesWithPolicy(_)) => "wasmserve, a policy each".into(),
            Self::Ours(Ours::Policies(count)) => format!("wasmserve, {count} policies"),
        }
    }

    /// Whether it is there to be started. Debian's contestants always are: the task installs them.
    pub fn is_installed(self) -> bool {
        match self {
            Self::StaticWebServer => peers().join("bin/static-web-server").exists(),
            Self::Tornado | Self::TornadoFlush => peers().join("python/bin/python").exists(),
            Self::EnvoyWasm => peers().join("python/bin/envoy").exists() && envoy_filter().exists(),
            _ => true,
        }
    }

    /// Whether it serves the files of the site, rather than a constant of 1 KiB.
    fn serves_files(self) -> bool {
        !matches!(self, Self::Floor | Self::EnvoyWasm)
    }
}

impl Peer {
    /// Starts a contestant and checks that it gives the same bytes as all others.
    pub fn start(kind: Kind, site: &Site) -> Result<Self, String> {
        Ok(Self::timed(kind, site)?.0)
    }

    /// The same, with the time from its start to the first answer.
    pub fn timed(kind: Kind, site: &Site) -> Result<(Self, Duration), String> {
        let begun = Instant::now();
        let peer = match kind {
            Kind::Ours(ours) => Self::ours(kind, ours, site),
            other => Self::other(other, site).map_err(|error| format!("{}: {error}", other.name()))?,
        };
        let (first, _) = SIZES[0];
        load::body(peer.address, &format!("/{first}"), peer.headers)
            .map_err(|error| format!("{}: {error}", peer.name))?;
        let took = begun.elapsed();
        peer.check(kind, site)?;
        Ok((peer, took))
    }

    /// Its processes: the one that was started and those that it started.
    pub fn processes(&self) -> Vec<u32> {
        let first = match &self.running {
            Running::Other { child, .. } => child.id(),
            Running::Ours { server, .. } => server.pid(),
        };
        let mut all = vec![first];
        let mut at = 0;
        while let Some(&pid) = all.get(at) {
            all.extend(process::children(pid));
            at += 1;
        }
        all
    }

    /// CPU time of its processes so far. All of them keep their threads while they are measured.
    pub fn cpu(&self) -> Duration {
        self.processes().into_iter().map(process::exact_cpu_time).sum()
    }

    /// A file of 1 KiB over so many kept connections, as fast as one client can; `next` as [`load::closed`] takes it.
    pub fn small_file(&self, settings: &Settings, connections: usize, next: Option<&str>) -> Result<Load, String> {
        let (address, headers) = (self.address, self.headers);
        load::closed(address, "/1KiB.bin", headers, connections, settings.seconds, next)
    }

    pub fn is_ours(&self) -> bool {
        matches!(self.running, Running::Ours { .. })
    }

    /// Resident bytes of its processes, pages that they share counted once.
    pub fn memory(&self) -> u64 {
        self.processes().into_iter().map(process::proportional).sum()
    }

    fn check(&self, kind: Kind, site: &Site) -> Result<(), String> {
        for (name, size) in SIZES {
            if !kind.serves_files() && *size != 1 << 10 {
                continue;
            }
            let path = format!("/{name}");
            let given = load::body(self.address, &path, self.headers)
                .map_err(|error| format!("{}: {path}: {error}", self.name))?;
            let right = match kind.serves_files() {
                true => fs::read(site.tree().at(name)).map_err(|error| error.to_string())? == given,
                false => given.len() == *size,
            };
            if !right {
                return Err(format!("{} does not give the bytes of {path}", self.name));
            }
        }
        Ok(())
    }

    fn ours(kind: Kind, ours: Ours, site: &Site) -> Self {
        // What the log costs is asked of one: the others write no access log either.
        let quiet = |launch: Launch| launch.arguments(["--log", "warn", "--max-connections", "12000"]);
        let files = || Launch::new(site.tree());
        let standard = |launch: Launch| launch.plugins_at(&project().join("plugins"));
        let under = |chain: Chain| (quiet(files()).plugins(&chain), Keeping::Chain(chain));
        let (launch, keeping) = match ours {
            Ours::WithAccessLog => (files(), Keeping::Nothing),
            Ours::NoPlugins | Ours::Policies(0) => (quiet(files()), Keeping::Nothing),
            Ours::SendfileAlways => (quiet(files()).arguments(["--sendfile", "always"]), Keeping::Nothing),
            Ours::Kept => (standard(quiet(files())), Keeping::Nothing),
            Ours::KeptWarm => {
                let launch = standard(quiet(files())).arguments(["--code-cache"]);
                (launch.arguments([site.code_cache()]), Keeping::Nothing)
            }
            Ours::Fresh => under(called_each_time("evidence = \"never\"\n")),
            Ours::Reused => under(called_each_time("isolation = \"reuse\"\n")),
            Ours::TokenKept => under(tokens::chain("")),
            Ours::TokenFresh => under(tokens::chain("evidence = \"never\"\n")),
            Ours::Policies(count) => under(Chain::new((0..count).map(|_| Policy::standard("security-headers")))),
            Ours::ManyFiles => hosted(site, 1, "cached-files = 10000", |_| String::new()),
            Ours::Sites(count) => hosted(site, count, "", |_| String::new()),
            Ours::SitesWithPolicy(count) => hosted(site, count, "", |number| {
                format!("[[site.policy]]\nplugin = \"probe\"\nconfig = {{ headers = \"set | x-site | {number}\" }}\n")
            }),
        };
        let server = launch.start();
        let headers = match ours {
            Ours::TokenKept | Ours::TokenFresh => *tokens::BEARER,
            _ => &[],
        };
        Self {
            name: kind.name(),
            address: server.address(),
            headers,
            running: Running::Ours { server, _kept: keeping },
        }
    }

    fn other(kind: Kind, site: &Site) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let address = load::free_port().map_err(|error| error.to_string())?;
        let place = Place {
            folder: folder.path(),
            root: &site.root(),
            address,
        };
        let (mut command, headers) = match kind {
            Kind::Floor => (place.floor()?, &[][..]),
            Kind::Nginx => (place.nginx("sendfile on; tcp_nopush on;", "", "")?, &[][..]),
            Kind::NginxWithoutSendfile => (place.nginx("sendfile off;", "", "")?, &[][..]),
            Kind::NginxLua => (place.nginx_lua()?, KEY),
            Kind::NginxNjs => (place.nginx_njs()?, KEY),
            Kind::NginxBasicAuth => (place.nginx_basic_auth()?, BASIC),
            Kind::NginxToken => (place.nginx_token()?, *tokens::BEARER),
            Kind::NginxSites(count) => (place.nginx_sites(count)?, &[][..]),
            Kind::Lighttpd => (place.lighttpd()?, &[][..]),
            Kind::Caddy => (place.caddy()?, &[][..]),
            Kind::StaticWebServer => (place.static_web_server(), &[][..]),
            Kind::Tornado => (place.tornado("static"), &[][..]),
            Kind::TornadoFlush => (place.tornado("flush"), &[][..]),
            Kind::EnvoyWasm => (place.envoy()?, KEY),
            Kind::Ours(_) => return Err("is started by its own harness".into()),
        };
        let log = fs::File::create(folder.path().join("log")).map_err(|error| error.to_string())?;
        let child = command
            .env("HOME", folder.path())
            .env("XDG_DATA_HOME", folder.path())
            .env("XDG_CONFIG_HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|error| error.to_string())?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("does not start: {error}"))?;
        let peer = Self {
            name: kind.name(),
            address,
            headers,
            running: Running::Other { child, _folder: folder },
        };
        if load::listens(address) {
            return Ok(peer);
        }
        let Running::Other { _folder: folder, .. } = &peer.running else {
            return Err("does not listen".into());
        };
        let said = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        Err(format!("does not listen: {said}"))
    }
}

/// The three standard policies with settings of which no decision is kept.
fn called_each_time(settings: &str) -> Chain {
    Chain::new(["security-headers", "clean-urls", "basic-auth"].map(|name| {
        let policy = Policy::standard(name).settings(settings);
        match name {
            "basic-auth" => policy.config("prefixes = [\"/private/\"]\nusers = {}"),
            _ => policy,
        }
    }))
}

/// So many sites over the same files, with further lines of `[server]`. The first has every name that is no other's, as the checks ask by address.
fn hosted(site: &Site, count: usize, server: &str, policy: impl Fn(usize) -> String) -> (Launch, Keeping) {
    let mut text = String::new();
    for number in 0..count {
        let other = if number == 0 { ", \"*\"" } else { "" };
        text += &format!(
            "[[site]]\nname = \"s{number}\"\nhosts = [\"s{number}.test\"{other}]\nroot = {:?}\n{}",
            site.root(),
            policy(number)
        );
    }
    let hosting = Hosting::new().guest("probe");
    hosting.configure(&format!("log = \"warn\"\nmax-connections = 12000\n{server}"), &text);
    (hosting.launch(), Keeping::Hosting(hosting))
}

impl Drop for Peer {
    fn drop(&mut self) {
        let processes = self.processes();
        if let Running::Other { child, .. } = &mut self.running {
            // Children do not end with a parent that is killed, and nginx replaces a worker that is: so the parent first.
            for pid in processes.iter().filter_map(|pid| i32::try_from(*pid).ok()) {
                if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            let _ = child.wait();
        }
    }
}

/// Where one contestant runs.
struct Place<'a> {
    folder: &'a Path,
    root: &'a Path,
    address: SocketAddr,
}

impl Place<'_> {
    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> Result<PathBuf, String> {
        let path = self.folder.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    fn floor(&self) -> Result<Command, String> {
        let binary = self.folder.join("floor");
        load::compile(&project().join("tests/bench/peers/floor.c"), &binary)?;
        let mut command = Command::new(binary);
        command.arg(self.address.port().to_string());
        Ok(command)
    }

    /// `main`: directives of the main context. `server`: what stands in the server.
    fn nginx(&self, sending: &str, main: &str, server: &str) -> Result<Command, String> {
        let (folder, root, port) = (self.folder.display(), self.root.display(), self.address.port());
        let configuration = format!(
            "{main}\n\
             worker_processes auto; pid {folder}/pid; error_log {folder}/error.log; daemon off; user root;\n\
             worker_rlimit_nofile 20000;\n\
             events {{ worker_connections 16384; }}\n\
             http {{\n\
             access_log off; {sending} keepalive_requests 1000000000; keepalive_timeout 600s;\n\
             open_file_cache max=10000 inactive=60s; open_file_cache_valid 1s; open_file_cache_min_uses 1;\n\
             client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;\n\
             uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;\n\
             {import}\n\
             server {{ listen 127.0.0.1:{port} backlog=4096; root {root}; {server} }} }}\n",
            import = match main.contains("js_module") {
                true => format!("js_import policy from {folder}/policy.js;"),
                false => String::new(),
            },
        );
        let file = self.write("nginx.conf", configuration)?;
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-c").arg(file).arg("-e").arg(self.folder.join("error.log"));
        Ok(command)
    }

    fn nginx_lua(&self) -> Result<Command, String> {
        self.nginx(
            "sendfile on; tcp_nopush on;",
            "load_module /usr/lib/nginx/modules/ndk_http_module.so;\n\
             load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;",
            "location / { access_by_lua_block { \
               if ngx.req.get_headers()[\"X-Key\"] ~= \"open\" then return ngx.exit(403) end } }",
        )
    }

    fn nginx_njs(&self) -> Result<Command, String> {
        self.nginx_javascript(
            "function check(r) { r.return(r.headersIn['X-Key'] === 'open' ? 204 : 403); }\nexport default { check };\n",
        )
    }

    fn nginx_token(&self) -> Result<Command, String> {
        self.nginx_javascript(&tokens::javascript())
    }

    fn nginx_javascript(&self, script: &str) -> Result<Command, String> {
        self.write("policy.js", script)?;
        self.nginx(
            "sendfile on; tcp_nopush on;",
            "load_module /usr/lib/nginx/modules/ngx_http_js_module.so;",
            "location / { auth_request /policy; } location = /policy { internal; js_content policy.check; }",
        )
    }

    fn nginx_basic_auth(&self) -> Result<Command, String> {
        let users = self.write("users", "alice:{PLAIN}secret\n")?;
        self.nginx(
            "sendfile on; tcp_nopush on;",
            "",
            &format!(
                "location / {{ auth_basic private; auth_basic_user_file {}; }}",
                users.display()
            ),
        )
    }

    /// Servers told apart by name: the first is the default one too.
    fn nginx_sites(&self, count: usize) -> Result<Command, String> {
        let (root, port) = (self.root.display(), self.address.port());
        let others: String = (1..count)
            .map(|number| format!("server {{ listen 127.0.0.1:{port}; server_name s{number}.test; root {root}; }}\n"))
            .collect();
        // The braces of the default server are closed around these.
        let server = format!(
            "server_name s0.test; }} server_names_hash_max_size 65536; server_names_hash_bucket_size 128;\n{others}\
             server {{ listen 127.0.0.1:{port}; server_name none.test; root {root};"
        );
        self.nginx("sendfile on; tcp_nopush on;", "", &server)
    }

    fn lighttpd(&self) -> Result<Command, String> {
        // It takes half as many connections as it may have descriptors, whatever else it is told.
        let descriptors = load::descriptors().min(65_536);
        let connections = descriptors / 2;
        let (folder, root, port) = (self.folder.display(), self.root.display(), self.address.port());
        let file = self.write(
            "lighttpd.conf",
            format!(
                "server.document-root = \"{root}\"\nserver.port = {port}\nserver.bind = \"127.0.0.1\"\n\
                 server.pid-file = \"{folder}/pid\"\nserver.errorlog = \"{folder}/error.log\"\n\
                 server.max-keep-alive-requests = 1000000000\nserver.max-keep-alive-idle = 600\n\
                 server.max-fds = {descriptors}\nserver.max-connections = {connections}\nserver.listen-backlog = 4096\n\
                 server.stat-cache-engine = \"simple\"\nserver.network-backend = \"sendfile\"\n\
                 mimetype.assign = ( \".bin\" => \"application/octet-stream\" )\n"
            ),
        )?;
        let mut command = Command::new("/usr/sbin/lighttpd");
        command.arg("-D").arg("-f").arg(file);
        Ok(command)
    }

    fn caddy(&self) -> Result<Command, String> {
        let file = self.write(
            "Caddyfile",
            format!(
                "{{\n admin off\n auto_https off\n}}\nhttp://:{} {{\n bind 127.0.0.1\n root * {}\n file_server\n}}\n",
                self.address.port(),
                self.root.display()
            ),
        )?;
        let mut command = Command::new("/usr/bin/caddy");
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
        Ok(command)
    }

    fn static_web_server(&self) -> Command {
        let mut command = Command::new(peers().join("bin/static-web-server"));
        command
            .args([
                "--host",
                "127.0.0.1",
                "--port",
                &self.address.port().to_string(),
                "--root",
            ])
            .arg(self.root)
            .args(["--log-level", "error"]);
        command
    }

    fn tornado(&self, handler: &str) -> Command {
        let mut command = Command::new(peers().join("python/bin/python"));
        command
            .arg(project().join("tests/bench/peers/tornado_files.py"))
            .args([handler, &self.address.port().to_string()])
            .arg(self.root);
        command
    }

    fn envoy(&self) -> Result<Command, String> {
        let filter = envoy_filter();
        let constant = "x".repeat(1 << 10);
        let text = fs::read_to_string(project().join("tests/bench/peers/envoy.yaml")).map_err(|e| e.to_string())?;
        let text = text
            .replace("PORT", &self.address.port().to_string())
            .replace("FILTER", &filter.display().to_string())
            .replace("CONSTANT", &constant);
        let file = self.write("envoy.yaml", text)?;
        let mut command = Command::new(peers().join("python/bin/envoy"));
        command
            .args([
                "--concurrency",
                "2",
                "--disable-hot-restart",
                "--log-level",
                "error",
                "-c",
            ])
            .arg(file);
        Ok(command)
    }
}

/// Where `cargo xtask bench` puts the peers that Debian does not have.
fn peers() -> PathBuf {
    project().join("target/bench-peers")
}

/// The filter that `cargo xtask bench` builds for Envoy.
fn envoy_filter() -> PathBuf {
    project().join("tests/bench/peers/envoy-filter/envoy-filter.wasm")
}

/// The versions of all contestants, for the record.
pub fn versions() -> Vec<(String, String)> {
    let python = peers().join("python/bin/python");
    let python = python.display().to_string();
    let sws = peers().join("bin/static-web-server").display().to_string();
    let envoy = peers().join("python/bin/envoy").display().to_string();
    let ours = support::server_binary().display().to_string();
    let commands: [(&str, Vec<&str>); 7] = [
        ("wasmserve", vec![&ours, "--version"]),
        ("nginx", vec!["/usr/sbin/nginx", "-v"]),
        ("lighttpd", vec!["/usr/sbin/lighttpd", "-v"]),
        ("Caddy", vec!["/usr/bin/caddy", "version"]),
        ("static-web-server", vec![&sws, "--version"]),
        ("Tornado", vec![&python, "-c", "import tornado; print(tornado.version)"]),
        ("Envoy", vec![&envoy, "--version"]),
    ];
    let version = |words: &[&str]| {
        if !Path::new(words[0]).exists() {
            return "not installed".to_owned();
        }
        let ran = tool::run(Path::new("/"), words[0], &words[1..]);
        let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), ran.stderr);
        said.split_whitespace()
            .flat_map(|word| word.split('/'))
            .find(|word| word.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'))
            .unwrap_or("unknown")
            .to_owned()
    };
    commands
        .iter()
        .map(|(name, words)| ((*name).to_owned(), version(words)))
        .collect()
}
