//! The WASI 0.2 basics that language runtimes need to start: clocks, chance, environment, streams.
//!
//! Nothing of the host is inherited: no arguments, of the environment and the directories only what is granted; the input
//! has ended, and what is printed goes to the log. Sockets can be named and never be had: runtimes that are made for
//! programs of any kind import them, used or not. Whatever cannot be repeated says so to the recorder.
use crate::call::Call;
use wasmtime::{
    Result,
    component::{HasData, HasSelf, Linker, Resource, ResourceTable},
    format_err,
};
use wasmtime_wasi::{
    WasiView,
    cli::{WasiCli, WasiCliView},
    clocks::WasiClocksView,
    filesystem::{Descriptor, WasiFilesystem, WasiFilesystemCtxView, WasiFilesystemView},
    p2::{
        DynInputStream, DynOutputStream, DynPollable,
        bindings::{
            cli::{environment, exit, stderr, stdin, stdout, terminal_input, terminal_output},
            cli::{terminal_stderr, terminal_stdin, terminal_stdout},
            clocks::{monotonic_clock, wall_clock},
            filesystem::{preopens, types},
            io::{error, poll, streams},
            random::{insecure, insecure_seed, random},
            sockets::{instance_network, ip_name_lookup, network, tcp, tcp_create_socket, udp, udp_create_socket},
        },
    },
    random::WasiRandomView,
    sockets::{WasiSockets, WasiSocketsCtxView, WasiSocketsView},
};

/// Interfaces that are linked, in any 0.2 version.
const OFFERED: [&str; 27] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// Whether an import is one of the basics.
pub(crate) fn offers(import: &str) -> bool {
    import
        .split_once("@0.2.")
        .is_some_and(|(name, _)| OFFERED.contains(&name))
}

struct HasTable;

impl HasData for HasTable {
    type Data<'a> = &'a mut ResourceTable;
}

pub(crate) fn add_to_linker(linker: &mut Linker<Call>) -> Result<()> {
    let l = linker;
    error::add_to_linker::<Call, HasTable>(l, |call| call.ctx().table)?;
    streams::add_to_linker::<Call, HasTable>(l, |call| call.ctx().table)?;
    poll::add_to_linker::<Call, HasSelf<Call>>(l, |call| call)?;
    wall_clock::add_to_linker::<Call, HasSelf<Call>>(l, |call| call)?;
    monotonic_clock::add_to_linker::<Call, HasSelf<Call>>(l, |call| call)?;
    random::add_to_linker::<Call, HasSelf<Call>>(l, |call| call)?;
    insecure::add_to_linker::<Call, HasSelf<Call>>(l, |call| call)?;
    insecure_seed::add_to_linker::<Call, HasSelf<Call>>(l, |call| call)?;
    environment::add_to_linker::<Call, WasiCli>(l, Call::cli)?;
    exit::add_to_linker::<Call, WasiCli>(l, Call::cli)?;
    stdin::add_to_linker::<Call, HasSelf<Call>>(l, |call| call)?;
    stdout::add_to_linker::<Call, HasSelf<Call>>(l, |call| call)?;
    stderr::add_to_linker::<Call, HasSelf<Call>>(l, |call| call)?;
    terminal_input::add_to_linker::<Call, WasiCli>(l, Call::cli)?;
    terminal_output::add_to_linker::<Call, WasiCli>(l, Call::cli)?;
    terminal_stdin::add_to_linker::<Call, WasiCli>(l, Call::cli)?;
    terminal_stdout::add_to_linker::<Call, WasiCli>(l, Call::cli)?;
    terminal_stderr::add_to_linker::<Call, WasiCli>(l, Call::cli)?;
    preopens::add_to_linker::<Call, HasSelf<Call>>(l, |call| call)?;
    types::add_to_linker::<Call, WasiFilesystem>(l, files)?;
    instance_network::add_to_linker::<Call, WasiSockets>(l, sockets)?;
    ip_name_lookup::add_to_linker::<Call, WasiSockets>(l, sockets)?;
    network::add_to_linker::<Call, WasiSockets>(l, &network::LinkOptions::default(), sockets)?;
    tcp::add_to_linker::<Call, WasiSockets>(l, sockets)?;
    tcp_create_socket::add_to_linker::<Call, WasiSockets>(l, sockets)?;
    udp::add_to_linker::<Call, WasiSockets>(l, sockets)?;
    udp_create_socket::add_to_linker::<Call, WasiSockets>(l, sockets)?;
    Ok(())
}

/// Whatever is asked of a file, the answer may be another one the next time.
fn files(call: &mut Call) -> WasiFilesystemCtxView<'_> {
    call.recorder.unrepeatable("a file");
    call.filesystem()
}

/// None can be made, and no name is looked up: the context denies both ([`WasiView::ctx`] of [`Call`]).
fn sockets(call: &mut Call) -> WasiSocketsCtxView<'_> {
    call.recorder.unrepeatable("a socket");
    WasiSocketsView::sockets(call)
}

impl preopens::Host for Call {
    fn get_directories(&mut self) -> Result<Vec<(Resource<Descriptor>, String)>> {
        if !self.setting.directories.is_empty() {
            // A handle is not in memory.
            self.must_not_be_captured("a directory")?;
        }
        let directories = self.filesystem().get_directories()?;
        match self.missing_directory() {
            Some(reason) => Err(format_err!("{reason}")),
            None => Ok(directories),
        }
    }
}

impl wall_clock::Host for Call {
    fn now(&mut self) -> Result<wall_clock::Datetime> {
        self.unrepeatable("the wall clock")?;
        wall_clock::Host::now(&mut self.clocks())
    }
    fn resolution(&mut self) -> Result<wall_clock::Datetime> {
        wall_clock::Host::resolution(&mut self.clocks())
    }
}

impl monotonic_clock::Host for Call {
    fn now(&mut self) -> Result<monotonic_clock::Instant> {
        self.unrepeatable("the monotonic clock")?;
        monotonic_clock::Host::now(&mut self.clocks())
    }
    fn resolution(&mut self) -> Result<monotonic_clock::Instant> {
        monotonic_clock::Host::resolution(&mut self.clocks())
    }
    fn subscribe_instant(&mut self, when: monotonic_clock::Instant) -> Result<Resource<DynPollable>> {
        self.unrepeatable("the monotonic clock")?;
        self.clocks().subscribe_instant(when)
    }
    fn subscribe_duration(&mut self, when: monotonic_clock::Duration) -> Result<Resource<DynPollable>> {
        self.unrepeatable("the monotonic clock")?;
        self.clocks().subscribe_duration(when)
    }
}

impl random::Host for Call {
    fn get_random_bytes(&mut self, length: u64) -> Result<Vec<u8>> {
        self.unrepeatable("random bytes")?;
        let bytes = WasiRandomView::random(self).get_random_bytes(length)?;
        self.recorder.spend(bytes.len())?;
        Ok(bytes)
    }
    fn get_random_u64(&mut self) -> Result<u64> {
        self.unrepeatable("random bytes")?;
        WasiRandomView::random(self).get_random_u64()
    }
}

impl insecure::Host for Call {
    fn get_insecure_random_bytes(&mut self, length: u64) -> Result<Vec<u8>> {
        self.unrepeatable("random bytes")?;
        let bytes = WasiRandomView::random(self).get_insecure_random_bytes(length)?;
        self.recorder.spend(bytes.len())?;
        Ok(bytes)
    }
    fn get_insecure_random_u64(&mut self) -> Result<u64> {
        self.unrepeatable("random bytes")?;
        WasiRandomView::random(self).get_insecure_random_u64()
    }
}

impl insecure_seed::Host for Call {
    fn insecure_seed(&mut self) -> Result<(u64, u64)> {
        self.asked_for_seed = true;
        WasiRandomView::random(self).insecure_seed()
    }
}

impl stdin::Host for Call {
    fn get_stdin(&mut self) -> Result<Resource<DynInputStream>> {
        self.unrepeatable("standard input")?;
        self.cli().get_stdin()
    }
}

// What is printed is part of the decision, like log lines: replayed with it. Only the handles are not.
impl stdout::Host for Call {
    fn get_stdout(&mut self) -> Result<Resource<DynOutputStream>> {
        self.must_not_be_captured("standard output")?;
        self.cli().get_stdout()
    }
}

impl stderr::Host for Call {
    fn get_stderr(&mut self) -> Result<Resource<DynOutputStream>> {
        self.must_not_be_captured("standard error")?;
        self.cli().get_stderr()
    }
}

impl poll::Host for Call {
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> Result<Vec<u32>> {
        self.unrepeatable("a poll")?;
        poll::Host::poll(self.ctx().table, pollables).await
    }
}

impl poll::HostPollable for Call {
    async fn ready(&mut self, pollable: Resource<DynPollable>) -> Result<bool> {
        self.unrepeatable("a poll")?;
        poll::HostPollable::ready(self.ctx().table, pollable).await
    }
    async fn block(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        self.unrepeatable("a poll")?;
        poll::HostPollable::block(self.ctx().table, pollable).await
    }
    fn drop(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        poll::HostPollable::drop(self.ctx().table, pollable)
    }
}
