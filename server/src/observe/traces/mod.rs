//! Traces for OpenTelemetry: one span for a request and one for each policy, sent to a collector as OTLP over HTTP in JSON.
//!
//! In the order of events: [`start`] says once where they go; [`begin`] decides, by what the client says ([`context`]) or by
//! chance, whether a request is traced; its policies are noted ([`Passage`]); when it has ended, [`tell`] makes spans of it
//! ([`span`]) and hands them over ([`exporter`]). A request that is not traced asks one question of this module. Nothing of
//! it ever waits for the collector.
//!
//! One for the process, as the access log is.

mod context;
mod exporter;
mod span;

pub use context::{Parent, SpanId, TraceId};
pub use exporter::Counts;
pub use span::{Attribute, Passage, Period, Request, Traced};

use crate::net::outgoing::{Outgoing, TrustError};
use exporter::{Exporter, WAITING};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use ring::rand::{SecureRandom, SystemRandom};
use span::Span;
use std::{
    cell::Cell,
    fs, io,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

/// Where traces go, and of which requests there are any.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceOptions {
    /// Where spans are posted, with its path.
    pub url: Uri,
    pub service_name: String,
    /// One request of so many begins a trace, where no client says anything.
    pub one_in: NonZeroU32,
    pub parents: Parents,
    /// Header fields for the collector, a line each.
    pub headers_file: Option<PathBuf>,
    /// What vouches for the collector; otherwise the public authorities do.
    pub ca_file: Option<PathBuf>,
    /// How long spans wait for others.
    pub interval: Duration,
}

/// Whose `traceparent` is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parents {
    /// That of the listener's trusted proxies.
    #[default]
    Proxies,
    /// Everybody's: whoever likes decides which requests are traced.
    Anyone,
    Nobody,
}

/// Why there can be no traces.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    #[error("cannot read {}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}:{line}: this is no header field: NAME: VALUE", .path.display())]
    Field { path: PathBuf, line: usize },
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// The end of the queue that is written to.
struct Traces {
    options: TraceOptions,
    queue: mpsc::Sender<Vec<Span>>,
    counts: Arc<Counts>,
    finishing: watch::Sender<bool>,
}

/// For one request to the collector.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the end of the process waits for the last spans.
const LAST: Duration = Duration::from_secs(2);

static STARTED: OnceLock<Traces> = OnceLock::new();

/// What sends traces; to be finished when the process ends.
#[derive(Debug, Default)]
pub struct Sending(Option<JoinHandle<()>>);

/// Says where traces go, from now on and until the process ends; nowhere without options.
///
/// # Errors
/// Files that cannot be used.
pub fn start(options: Option<&TraceOptions>) -> Result<Sending, TracesError> {
    let Some(options) = options else {
        return Ok(Sending::default());
    };
    let (headers, client) = prepare(options)?;
    let (queue, waiting) = mpsc::channel(WAITING);
    let (finishing, finish) = watch::channel(false);
    let counts = Arc::<Counts>::default();
    let traces = Traces {
        options: options.clone(),
        queue,
        counts: counts.clone(),
        finishing,
    };
    if STARTED.set(traces).is_err() {
        return Ok(Sending::default());
    }
    let exporter = Exporter::new(options.clone(), headers, client, waiting, counts, finish);
    Ok(Sending(Some(tokio::spawn(exporter.run()))))
}

/// Whether traces could be sent, as far as files say.
///
/// # Errors
/// Files that cannot be used.
pub fn check(options: Option<&TraceOptions>) -> Result<(), TracesError> {
    options.map_or(Ok(()), |options| prepare(options).map(drop))
}

fn prepare(options: &TraceOptions) -> Result<(HeaderMap, Outgoing), TracesError> {
    let headers = options.headers_file.as_deref().map(fields).transpose()?;
    let client = Outgoing::new(options.ca_file.as_deref(), PATIENCE)?;
    Ok((headers.unwrap_or_default(), client))
}

/// Whether a request is traced. `is_proxy`: its client is one of the listener's trusted proxies.
pub fn begin(headers: &HeaderMap, is_proxy: bool) -> Option<Box<Traced>> {
    let traces = STARTED.get()?;
    let believed = match traces.options.parents {
        Parents::Proxies => is_proxy,
        Parents::Anyone => true,
        Parents::Nobody => false,
    };
    let parent = believed.then(|| Parent::of(headers)).flatten();
    let wanted = match &parent {
        Some(parent) => parent.sampled,
        None => is_due(traces.options.one_in),
    };
    if !wanted {
        return None;
    }
    let trace = match &parent {
        Some(parent) => parent.trace,
        None => TraceId(random()?),
    };
    Some(Box::new(Traced {
        trace,
        span: SpanId(random()?),
        parent,
    }))
}

/// Hands a request's spans over; counts them when there is no room.
pub fn tell(traced: Traced, told: Request, passages: Vec<Passage>) {
    let Some(traces) = STARTED.get() else { return };
    let identifiers = std::iter::from_fn(|| random().map(SpanId));
    let spans = traced.spans(told, passages, identifiers);
    let count = spans.len() as u64;
    if traces.queue.try_send(spans).is_err() {
        traces.counts.dropped.fetch_add(count, Relaxed);
    }
}

/// What became of spans, and how many exchanges' wait; `None`: there are no traces.
pub fn counts() -> Option<(&'static Counts, usize)> {
    let traces = STARTED.get()?;
    Some((&traces.counts, WAITING - traces.queue.capacity()))
}

/// One of so many, by chance.
fn is_due(one_in: NonZeroU32) -> bool {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(random().map_or(0, u64::from_ne_bytes));
    }
    if one_in.get() == 1 {
        return true;
    }
    // SplitMix64 (Steele, Lea, Flood, 2014): whoever guesses the next one learns whether a request is traced.
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)).is_multiple_of(one_in.get().into())
}

/// Never all zero: that stands for none.
fn random<const BYTES: usize>() -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes).ok()?;
    (bytes != [0; BYTES]).then_some(bytes)
}

/// Header fields, one a line.
fn fields(path: &Path) -> Result<HeaderMap, TracesError> {
    let text = fs::read_to_string(path).map_err(|source| TracesError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mut headers = HeaderMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = || TracesError::Field {
            path: path.to_owned(),
            line: number + 1,
        };
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
        let mut value: HeaderValue = value.trim().parse().map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

// === impl Sending ===

impl Sending {
    /// Sends what waits, and waits for that, but not for long.
    pub async fn finish(self) {
        if let (Some(task), Some(traces)) = (self.0, STARTED.get()) {
            traces.finishing.send_replace(true);
            let _ = timeout(LAST, task).await;
        }
    }
}

// === impl TraceOptions ===

impl TraceOptions {
    /// The URL without what may be a secret in it.
    pub fn shown_url(&self) -> String {
        let (scheme, host) = (
            self.url.scheme_str().unwrap_or("http"),
            self.url.host().unwrap_or_default(),
        );
        let port = self.url.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{scheme}://{host}{port}{}", self.url.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_one_of_so_many_is_due() {
        let due = |one_in: u32| {
            let one_in = NonZeroU32::new(one_in).expect("not zero");
            (0..100_000).filter(|_| is_due(one_in)).count()
        };
        assert_eq!(due(1), 100_000);
        // Ten standard deviations around the mean.
        assert!((9_000..11_000).contains(&due(10)), "{}", due(10));
        assert!(due(u32::MAX) < 10);
    }

    #[test]
    fn fields_are_read_from_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("headers");
        fs::write(&file, "Authorization: Bearer x\n\n x-team:  a: b \n").expect("a file");
        let headers = fields(&file).expect("fields");
        assert_eq!(headers["authorization"], "Bearer x");
        assert_eq!(headers["x-team"], "a: b");
        assert!(headers["authorization"].is_sensitive());
        for text in ["nothing", "a b: c", "a: \u{7f}"] {
            fs::write(&file, format!("x: y\n{text}\n")).expect("a file");
            let error = fields(&file).expect_err(text).to_string();
            assert!(error.contains(":2: this is no header field"), "{error}");
        }
    }
}
