//! What a call of a guest owns, and how its questions are answered.
use crate::{
    bindings::{
        observer::wasmserve::policy::observation,
        wasi::{config::store as config, logging::logging},
        wasmserve::policy::{clock, request},
    },
    journal::{Journal, Level, Stdio},
    questions::{Answer, Circumstances, FieldName, Question},
    recorder::Recorder,
    running::Meter,
    services::{Outbound, Services},
};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};
use wasmtime::{ResourceLimiter, Result, component::ResourceTable, format_err};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// Handles that a guest may hold at once: what the host keeps behind them is beside the guest's memory limit.
const HANDLES: usize = 1024;

/// Bytes of the header fields of one outbound message.
const FIELDS: usize = 16 << 10;

/// What every call of one policy shares.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its configuration, as `wasi:config/store` tells it, sorted by key.
    pub config: Vec<(String, String)>,
    /// Facts that it may ask for.
    pub reads: BTreeSet<String>,
    /// What `wasi:cli/environment` tells.
    pub environment: BTreeMap<String, String>,
    /// Directories that it may read, by the path that it knows them by.
    pub directories: BTreeMap<String, PathBuf>,
    /// What `wasi:random/insecure-seed` answers: one per load, so that runtimes which ask for it stay repeatable.
    pub seed: u128,
}

/// What a guest is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// `configure`, once, so that its memory can be captured: whatever is not in memory afterwards, or would be the same
    /// in every decision and must not, traps.
    Capturing,
    /// `configure`, before one `decide`.
    Configuring,
    /// `decide`, or `observe`.
    Deciding,
}

/// The data of a store: one call, or one `configure`.
pub(crate) struct Call {
    pub setting: Arc<Setting>,
    pub phase: Phase,
    /// `None` while the policy is configured: there is no request then.
    pub circumstances: Option<Circumstances>,
    /// `None` while the policy is configured: what services said would be the same in every decision.
    pub services: Option<Arc<Services>>,
    pub recorder: Box<Recorder>,
    pub journal: Journal,
    pub ceilings: Ceilings,
    pub meter: Meter,
    /// It got the seed, which another load does not have.
    pub asked_for_seed: bool,
    /// Made when the guest first uses it: most never do.
    wasi: Option<WasiCtx>,
    /// Why a directory that is granted is not there.
    missing: Option<String>,
    outbound: Outbound,
    http: WasiHttpCtx,
    table: ResourceTable,
}

/// The trap of a guest that asked for what cannot be captured.
#[derive(Debug, thiserror::Error)]
#[error("{0} cannot be captured with the memory that configure leaves")]
pub(crate) struct NotInMemory(&'static str);

/// What the memories and tables of one call may take together.
///
/// Growth that fails traps instead of telling the guest so: it depends on what else is in memory, and a decision must not.
#[derive(Debug)]
pub(crate) struct Ceilings {
    memory: usize,
    limit: usize,
}

#[derive(Debug, thiserror::Error)]
#[error("needs {needed} bytes of memory, and its limit is {limit}")]
pub(crate) struct OutOfMemory {
    needed: usize,
    limit: usize,
}

impl Ceilings {
    pub fn new(limit: usize) -> Self {
        Self { memory: 0, limit }
    }

    /// Bytes of all memories together.
    pub fn memory(&self) -> usize {
        self.memory
    }
}

impl ResourceLimiter for Ceilings {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        let needed = (self.memory - current).saturating_add(desired);
        if needed > self.limit {
            return Err(OutOfMemory {
                needed,
                limit: self.limit,
            }
            .into());
        }
        self.memory = needed;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> Result<()> {
        Err(error)
    }

    // Bounded by the engine's pool.
    fn table_growing(&mut self, _current: usize, _desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(true)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> Result<()> {
        Err(error)
    }
}

impl Call {
    pub fn new(setting: Arc<Setting>, phase: Phase, recorder: Box<Recorder>, ceilings: Ceilings, meter: Meter) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELDS);
        Self {
            setting,
            phase,
            circumstances: None,
            services: None,
            recorder,
            journal: Journal::default(),
            ceilings,
            meter,
            asked_for_seed: false,
            wasi: None,
            missing: None,
            outbound: Outbound::default(),
            http,
            table,
        }
    }

    /// Directories are open that another call would have to open anew.
    pub fn holds_directories(&self) -> bool {
        self.wasi.is_some() && !self.setting.directories.is_empty()
    }

    /// From here on, the guest decides.
    pub fn begin(&mut self, circumstances: Circumstances, services: &Arc<Services>, meter: Meter, transcript: bool) {
        // Once: an instance that is called again is its policy's.
        if self.phase != Phase::Deciding {
            self.serve(services);
        }
        self.circumstances = Some(circumstances);
        self.meter = meter;
        self.recorder.begin(transcript);
    }

    /// From here on, the guest observes.
    pub fn begin_observing(&mut self, services: &Arc<Services>, meter: Meter) {
        self.serve(services);
        self.meter = meter;
    }

    /// The guest is configured, and has what was granted to it.
    fn serve(&mut self, services: &Arc<Services>) {
        self.phase = Phase::Deciding;
        self.outbound = services.outbound();
        self.services = Some(services.clone());
        // What `configure` says was written when the policy was loaded.
        self.journal.take();
    }

    /// The call has ended, and its record is whole. Another may follow when that is taken out, or [cleared](Recorder::clear).
    pub fn end(&mut self) {
        self.circumstances = None;
        for request in self.outbound.take_sent() {
            self.recorder.served("an outbound request", || (request, "sent".into()));
        }
    }

    /// Traps while the memory of `configure` is to be captured.
    pub fn must_not_be_captured(&self, what: &'static str) -> Result<()> {
        match self.phase {
            Phase::Capturing => Err(NotInMemory(what).into()),
            Phase::Configuring | Phase::Deciding => Ok(()),
        }
    }

    /// Takes note of an answer that cannot be found again.
    pub fn unrepeatable(&mut self, what: &'static str) -> Result<()> {
        self.recorder.count()?;
        self.recorder.unrepeatable(what);
        self.must_not_be_captured(what)
    }

    /// The handles of the guest.
    pub fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }

    /// Why a directory that is granted is not there, when the guest looked for it.
    pub fn missing_directory(&self) -> Option<&str> {
        self.missing.as_deref()
    }

    /// No handle of the host's is open.
    pub fn holds_nothing(&self) -> bool {
        self.table.is_empty()
    }

    fn ask(&mut self, question: Question) -> Result<Answer<'_>> {
        let Some(circumstances) = &self.circumstances else {
            return Err(format_err!(
                "there is no request to ask about while a policy is configured"
            ));
        };
        Ok(self.recorder.ask(circumstances, question)?)
    }

    fn text(&mut self, question: Question) -> Result<String> {
        match self.ask(question)? {
            Answer::Text(text) => Ok(text.into_owned()),
            answer => Err(mismatch(&answer)),
        }
    }

    fn optional(&mut self, question: Question) -> Result<Option<String>> {
        match self.ask(question)? {
            Answer::Optional(text) => Ok(text.map(Cow::into_owned)),
            answer => Err(mismatch(&answer)),
        }
    }

    fn texts(&mut self, question: Question) -> Result<Vec<String>> {
        match self.ask(question)? {
            Answer::Texts(texts) => Ok(texts.into_iter().map(Cow::into_owned).collect()),
            answer => Err(mismatch(&answer)),
        }
    }

    fn flag(&mut self, question: Question) -> Result<bool> {
        match self.ask(question)? {
            Answer::Flag(flag) => Ok(flag),
            answer => Err(mismatch(&answer)),
        }
    }
}

/// Each question has one kind of answer, so this is a defect of the host; the call ends.
fn mismatch(answer: &Answer<'_>) -> wasmtime::Error {
    format_err!("an answer of the wrong kind: {answer:?}")
}

impl WasiHttpView for Call {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.outbound,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}

impl request::Host for Call {
    fn method(&mut self) -> Result<String> {
        self.text(Question::Method)
    }
    fn path(&mut self) -> Result<String> {
        self.text(Question::Path)
    }
    fn targets(&mut self) -> Result<Vec<String>> {
        self.texts(Question::Targets)
    }
    fn query(&mut self) -> Result<Option<String>> {
        self.optional(Question::Query)
    }
    fn query_parameter(&mut self, name: String) -> Result<Option<String>> {
        self.optional(Question::QueryParameter(name))
    }
    fn query_parameter_values(&mut self, name: String) -> Result<Vec<String>> {
        self.texts(Question::QueryParameterValues(name))
    }
    fn header(&mut self, name: String) -> Result<Option<String>> {
        self.optional(Question::Header(FieldName::new(&name)))
    }
    fn header_values(&mut self, name: String) -> Result<Vec<Vec<u8>>> {
        match self.ask(Question::HeaderValues(FieldName::new(&name)))? {
            Answer::Values(values) => Ok(values.into_iter().map(<[u8]>::to_vec).collect()),
            answer => Err(mismatch(&answer)),
        }
    }
    fn cookie(&mut self, name: String) -> Result<Option<String>> {
        self.optional(Question::Cookie(name))
    }
    fn scheme(&mut self) -> Result<String> {
        self.text(Question::Scheme)
    }
    fn host(&mut self) -> Result<String> {
        self.text(Question::Host)
    }
    fn site(&mut self) -> Result<String> {
        self.text(Question::Site)
    }
    fn client_address(&mut self) -> Result<Option<String>> {
        self.optional(Question::ClientAddress)
    }
    fn client_within(&mut self, cidr: String) -> Result<bool> {
        match Question::client_within(&cidr) {
            Some(question) => self.flag(question),
            None => Err(format_err!("{cidr:?} is neither a CIDR block nor an address")),
        }
    }
    fn fact(&mut self, name: String) -> Result<Option<String>> {
        if !self.setting.reads.contains(&name) {
            return Err(format_err!(
                "the fact {name:?} is not among those that the manifest reads"
            ));
        }
        self.optional(Question::Fact(name))
    }
}

/// Types only.
impl observation::Host for Call {}

impl clock::Host for Call {
    fn now(&mut self) -> Result<u64> {
        self.unrepeatable("the time")?;
        match &self.circumstances {
            Some(circumstances) => Ok(circumstances.now),
            None => Err(format_err!(
                "there is no request whose time could be asked while a policy is configured"
            )),
        }
    }
    fn before(&mut self, unix_seconds: u64) -> Result<bool> {
        self.flag(Question::Before(unix_seconds))
    }
}

// The configuration is the same for every decision of a load, so asking for it needs no record.
impl config::Host for Call {
    fn get(&mut self, key: String) -> Result<Result<Option<String>, config::Error>> {
        let config = &self.setting.config;
        let found = config
            .binary_search_by(|(k, _)| k.as_str().cmp(&key))
            .ok()
            .map(|at| config[at].1.clone());
        self.recorder.spend(found.as_ref().map_or(0, String::len))?;
        Ok(Ok(found))
    }
    fn get_all(&mut self) -> Result<Result<Vec<(String, String)>, config::Error>> {
        let all = self.setting.config.clone();
        self.recorder
            .spend(all.iter().map(|(k, v)| k.len() + v.len() + 16).sum())?;
        Ok(Ok(all))
    }
}

impl logging::Host for Call {
    fn log(&mut self, level: logging::Level, context: String, message: String) -> Result<()> {
        self.must_not_be_captured("a log line")?;
        self.recorder.count()?;
        let level = match level {
            logging::Level::Trace => Level::Trace,
            logging::Level::Debug => Level::Debug,
            logging::Level::Info => Level::Info,
            logging::Level::Warn => Level::Warn,
            logging::Level::Error | logging::Level::Critical => Level::Error,
        };
        self.journal.log(level, &context, &message);
        Ok(())
    }
}

impl WasiView for Call {
    /// Nothing of the host: no arguments or sockets, an input that has ended, and of its environment and its directories
    /// only what is granted.
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (journal, setting, missing) = (&self.journal, &self.setting, &mut self.missing);
        let ctx = self.wasi.get_or_insert_with(|| {
            let mut builder = WasiCtx::builder();
            for (name, value) in &setting.environment {
                builder.env(name, value);
            }
            for (path, directory) in &setting.directories {
                if let Err(error) = builder.preopened_dir(directory, path, FsPerms::ReadOnly) {
                    missing.get_or_insert(format!("the directory {path} cannot be opened: {error}"));
                }
            }
            builder
                .stdout(Stdio::new(journal.clone(), Level::Info, "stdout"))
                .stderr(Stdio::new(journal.clone(), Level::Warn, "stderr"))
                .insecure_random_seed(setting.seed)
                .max_random_size(64 << 10)
                .allow_tcp(false)
                .allow_udp(false)
                .allow_ip_name_lookup(false)
                .build()
        });
        WasiCtxView {
            ctx,
            table: &mut self.table,
        }
    }
}
