//! A server and its client in one process: the part that runs under valgrind.
use crate::callgrind;
use arc_swap::ArcSwap;
use std::{
    env, fs,
    hint::black_box,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::{
    runtime::Builder,
    sync::{Semaphore, oneshot},
};
use wasmserve::{
    config::ServerSettings,
    limits::{self, SiteBudget},
    net::{Bound, Inherited, ListenAddress, ListenerOptions, Server, Stopper, listener::Security},
    observe::meters,
    site::{Logged, Site, SiteHeaders, SiteSpec},
    sites::{HostPattern, Sites, UnknownHost},
    watch::Watch,
};
use wasmserve_files::{Files, FilesOptions};
use wasmserve_policy::{Budget, Chain, ChainSpec, Grants, Host, HostOptions, Limits, PolicySpec, Reuse};

/// The environment's names for what is to be done.
pub const WAY: &str = "WASMSERVE_COUNTED_WAY";
pub const EXTRA: &str = "WASMSERVE_COUNTED_EXTRA";

/// Requests before those that are counted: buffers have grown, files are open, decisions are kept.
const WARM_UP: u64 = 60;

const REQUEST: &[u8] = b"GET /file.bin HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: counter\r\nAccept: */*\r\n\r\n";
const SIZE: usize = 1024;

/// No time limit of a policy is to matter.
const PATIENCE: Duration = Duration::from_secs(600);

/// How a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// There are no policies.
    Off,
    /// The three policies of `plugins/plugins.toml`, decisions kept.
    Kept,
    /// The same policies, each called.
    Fresh,
}

// === impl Way ===

impl Way {
    pub const ALL: [Self; 3] = [Self::Off, Self::Kept, Self::Fresh];

    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "no policies",
            Self::Kept => "three policies, kept",
            Self::Fresh => "three policies, fresh",
        }
    }

    fn asked_for() -> Self {
        let name = env::var(WAY).expect("the way is named");
        let way = Self::ALL.into_iter().find(|way| way.name() == name);
        way.expect("the way is one of those there are")
    }
}

/// Serves so many requests of a client, and has their instructions counted.
pub fn run(requests: u64) {
    let extra = env::var(EXTRA).ok().and_then(|extra| extra.parse().ok()).unwrap_or(0);
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("file.bin"), [7; SIZE]).expect("a file");
    // A file is held in memory when it was not changed just now.
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(60);
    let file = fs::File::options().write(true).open(folder.path().join("file.bin"));
    file.and_then(|file| file.set_modified(long_ago)).expect("its time");
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let address = serve(folder.path().into(), Way::asked_for()).await;
        let (done, is_done) = oneshot::channel();
        let client = thread::spawn(move || {
            client(address, requests, extra);
            // Nobody may wait for it any more.
            let _ = done.send(());
        });
        let ended = is_done.await;
        client.join().expect("the client was answered");
        ended.expect("the client came to its end");
    });
}

/// Asks for the file so often that everything is warm, and then as often as is counted.
fn client(address: SocketAddr, requests: u64, extra: u64) {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_nodelay(true).expect("a socket");
    let mut answer = [0; 4096];
    let mut ask = || {
        stream.write_all(REQUEST).expect("the server reads");
        let mut have = 0;
        while have < SIZE || !answer[..have].ends_with(&[7; SIZE]) {
            let read = stream.read(&mut answer[have..]).expect("the server answers");
            assert!(read > 0, "the server closed");
            have += read;
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "));
    };
    (0..WARM_UP).for_each(|_| ask());
    callgrind::start();
    for _ in 0..requests {
        ask();
        // One instruction at least.
        (0..extra).for_each(|at| {
            black_box(at);
        });
    }
    callgrind::stop();
}

/// Serves a folder, as the program does.
async fn serve(root: PathBuf, way: Way) -> SocketAddr {
    let name: Arc<str> = "counted".into();
    let chain_spec = chain(name.clone(), way);
    let chain = match way {
        Way::Off => Chain::empty(name.clone()),
        Way::Kept | Way::Fresh => {
            let options = HostOptions {
                // Each reserves some GiB of addresses, and valgrind has not as many.
                instances: 2,
                // Under valgrind a call takes milliseconds, and would be taken for one that runs long.
                tick: Duration::from_secs(3600),
                ..HostOptions::default()
            };
            let host = Host::new(options).expect("an engine");
            host.load(chain_spec.clone())
                .await
                .expect("the policies are built and load")
        }
    };
    let spec = SiteSpec {
        hosts: vec![HostPattern::Any],
        files: FilesOptions::new(root),
        tls: None,
        chain: chain_spec,
        budget: SiteBudget::default(),
        headers: SiteHeaders::default(),
        logged: Logged::Yes,
    };
    let limits = Arc::new(limits::Limits::default());
    let site = Site {
        account: limits.account(&name, &spec.budget),
        meter: meters().of_site(&name),
        name,
        chain: Arc::new(chain),
        files: Arc::new(Files::new(spec.files.clone()).expect("a root")),
        spec: Arc::new(spec),
    };
    let sites = Sites::new(1, UnknownHost::default(), vec![Arc::new(site)]);
    let options = ServerSettings::default().net(None);
    let server = Server::new(Arc::new(sites), Watch::default(), limits, options);
    let listener = ListenerOptions::new(ListenAddress::Tcp((Ipv4Addr::LOCALHOST, 0).into()), Security::Plain);
    let bound = Bound::new(&listener, &mut Inherited::default()).expect("a port");
    let socket = std::net::TcpListener::from(bound.descriptor().expect("a descriptor"));
    let listener = Arc::new(ArcSwap::from_pointee(listener));
    let (stopper, stop) = Stopper::new();
    tokio::spawn(async move {
        let room = Arc::new(Semaphore::new(8));
        Arc::new(bound).accept(listener, server, room, stop).await;
        drop(stopper);
    });
    socket.local_addr().expect("an address")
}

/// The chain of `plugins/plugins.toml`.
fn chain(site: Arc<str>, way: Way) -> ChainSpec {
    let names: &[&str] = match way {
        Way::Off => &[],
        Way::Kept | Way::Fresh => &["security-headers", "clean-urls", "basic-auth"],
    };
    let policies = names.iter().map(|name| policy(name, way == Way::Kept)).collect();
    ChainSpec {
        site,
        policies,
        observers: Vec::new(),
        roots: ["default".to_owned()].into(),
        budget: Budget::default(),
    }
}

fn policy(name: &str, kept: bool) -> PolicySpec {
    let plugins = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins"));
    let guards = name == "basic-auth";
    let mut config = toml::Table::new();
    if guards {
        config.insert("prefixes".into(), vec!["/private/"].into());
    }
    PolicySpec {
        name: name.into(),
        wasm: plugins.join(name).join(name).with_extension("wasm"),
        config,
        limits: Limits {
            // What its manifest asks for.
            memory: if guards { 64 << 20 } else { Limits::default().memory },
            // Valgrind is slow, and the machine may be busy.
            running: PATIENCE,
            wall: PATIENCE,
            configure: PATIENCE,
            ..Limits::default()
        },
        grants: Grants::default(),
        establishes: if guards { ["user".to_owned()].into() } else { [].into() },
        reads: [].into(),
        reuse: Reuse {
            evidence: kept,
            ..Reuse::default()
        },
        shadow: None,
        pin: None,
    }
}
