//! Objects in a store behind a cache on local disk: this server's, and nginx's `proxy_cache` with `slice`, before one store.
//!
//! The store is an nginx that serves files as S3 does objects: lengths, entity tags, ranges, `If-Match`. Each round begins
//! with empty caches. Cold: each object once, so that all comes from the store and goes to disk. Warm: each four times.
use crate::{
    Extent, Settings, load,
    report::Run,
    workloads::{Cell, Point},
};
use std::{fs, net::SocketAddr, path::Path, time::Duration};
use support::{Hosting, Nginx, Server, pattern, process};

const MIB: usize = 1 << 20;
/// Downloads at once of an object that is there.
const WARM: usize = 4;

/// One of the two.
enum Cache {
    Ours(Server, #[expect(dead_code, reason = "held for its folder")] Hosting),
    Nginx(Nginx),
}

pub fn store(settings: &Settings, run: &mut Run) -> Result<(), String> {
    let (objects, size) = match settings.extent {
        Extent::Quick => (2, 4 * MIB),
        Extent::Whole => (8, 64 * MIB),
    };
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    fs::create_dir(folder.path().join("bucket")).map_err(|error| error.to_string())?;
    let contents: Vec<Vec<u8>> = (0..objects).map(|object| pattern(object, size)).collect();
    for (object, content) in contents.iter().enumerate() {
        let file = folder.path().join(format!("bucket/{object}.bin"));
        fs::write(file, content).map_err(|error| error.to_string())?;
    }
    let root = folder.path().display().to_string();
    let origin = Nginx::start(|_| "sendfile on;".into(), |_| format!("root {root};"));
    let (cold, warm) = (Point::new("cold", 1.0), Point::new("warm", 2.0));
    for round in 1..=settings.rounds {
        for (name, start) in [
            ("wasmserve", ours as fn(SocketAddr) -> Cache),
            ("nginx slice 1m", theirs),
        ] {
            if !settings.only.is_empty() && !settings.only.iter().any(|word| name.contains(word)) {
                continue;
            }
            let cache = start(origin.address());
            for (point, clients) in [(&cold, 1), (&warm, WARM)] {
                let cell = Cell {
                    workload: "store",
                    point,
                    contestant: name,
                    round,
                };
                measure(run, &cell, &cache, &contents, clients)?;
            }
            for (object, content) in contents.iter().enumerate() {
                let got = load::body(cache.address(), &format!("/{object}.bin"), &[]);
                if got.map_err(|error| error.to_string())? != *content {
                    return Err(format!("{name} gives other bytes than the store"));
                }
            }
        }
    }
    Ok(())
}

/// Every object, one after the other, to so many clients at once.
fn measure(run: &mut Run, cell: &Cell<'_>, cache: &Cache, contents: &[Vec<u8>], clients: usize) -> Result<(), String> {
    let (before, mut seconds, mut bytes) = (cache.cpu(), 0.0, 0.0);
    for object in 0..contents.len() {
        let loaded = load::downloads(cache.address(), &format!("/{object}.bin"), clients);
        let loaded = loaded.map_err(|error| error.to_string())?;
        (seconds, bytes) = (seconds + loaded.seconds, bytes + loaded.bytes);
    }
    let wanted = contents.iter().map(Vec::len).sum::<usize>() * clients;
    if bytes != wanted as f64 {
        return Err(format!("{} gives {bytes} bytes of {wanted}", cell.contestant));
    }
    let gibibytes = bytes / (1 << 30) as f64;
    let cpu = cache.cpu() - before;
    cell.add(run, "throughput", "MiB/s", gibibytes * 1024.0 / seconds);
    cell.add(run, "CPU per GiB", "s", cpu.as_secs_f64() / gibibytes);
    Ok(())
}

fn ours(origin: SocketAddr) -> Cache {
    let hosting = Hosting::new();
    let server =
        "log = \"error\"\nsendfile = \"always\"\n[server.disk-cache]\ndirectory = \"cache\"\ncapacity = \"4GiB\"";
    let site = format!(
        "[[site]]\nname = \"store\"\nhosts = [\"*\"]\nroot = \"s3://bucket\"\n[site.store]\nendpoint = \"http://{origin}\"\n\
         allow-http = true\ncredentials = \"none\""
    );
    hosting.configure(server, &site);
    Cache::Ours(hosting.start(), hosting)
}

fn theirs(origin: SocketAddr) -> Cache {
    let http = |folder: &Path| {
        let folder = folder.display();
        format!(
            "sendfile on; tcp_nopush on;\nupstream store {{ server {origin}; keepalive 16; }}\n\
             proxy_cache_path {folder}/cache levels=1:2 keys_zone=store:16m max_size=4g use_temp_path=off;"
        )
    };
    let server = "location / { slice 1m; proxy_cache store; proxy_cache_key $uri$slice_range; proxy_cache_lock on;\n\
                  proxy_set_header Range $slice_range; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
                  proxy_cache_valid 200 206 1h; proxy_pass http://store/bucket/; }";
    Cache::Nginx(Nginx::start(http, |_| server.to_owned()))
}

// === impl Cache ===

impl Cache {
    fn address(&self) -> SocketAddr {
        match self {
            Self::Ours(server, _) => server.address(),
            Self::Nginx(nginx) => nginx.address(),
        }
    }

    /// Of its processes, until now.
    fn cpu(&self) -> Duration {
        match self {
            Self::Ours(server, _) => process::cpu_time(server.pid()),
            Self::Nginx(nginx) => nginx.processes().into_iter().map(process::cpu_time).sum(),
        }
    }
}
