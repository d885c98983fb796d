//! Redis as the place where many servers keep what plugins share.
//!
//! In the order of an operation: `site` makes one call of a script of it, so that it is atomic ([`RedisSite`]); `line` sends
//! it over a connection that is kept open, unless its breaker is open; `connect` opens connections; `trouble` says in a word
//! what went wrong. `options` is what the operator says, and [`Redises`] sees to it that sites with the same options have
//! the same connections.
//!
//! An operation that failed may have been done: its answer can be lost after Redis did it. So none is ever sent twice, and a
//! token bucket never grants more than its limit.
mod connect;
mod line;
mod options;
mod site;
#[cfg(test)]
mod tests;
mod trouble;

pub use options::{Address, Authorities, Endpoint, Password, PasswordFrom, Prefix, RedisOptions};
pub use site::RedisSite;

use connect::Connector;
use line::Line;
use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{
        Arc, LazyLock, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// One Redis, with the connections to it. They are opened with the first operations, and closed when this is dropped.
pub struct Redis {
    options: Arc<RedisOptions>,
    lines: Vec<Line>,
    spread: RandomState,
}

/// What became of the operations with one Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisCounts {
    /// Where it is: [`Endpoint`] as text.
    pub endpoint: String,
    pub done: u64,
    /// Operations that were sent, or waited for a connection, and came to nothing.
    pub failed: u64,
    /// Operations that were not tried, because the breaker was open.
    pub refused: u64,
    /// Connections that could be open, and those whose breaker is.
    pub connections: usize,
    pub broken: usize,
}

/// What all lines to one Redis count and say together.
#[derive(Default)]
struct Notes {
    done: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    told: Mutex<Told>,
}

/// What the log was told last.
#[derive(Default)]
struct Told {
    trouble: Option<Instant>,
    /// Whether the last line was of trouble.
    in_trouble: bool,
}

/// A line of trouble is written once in so long, however often connections come and go.
const QUIET: Duration = Duration::from_secs(10);

// === impl Redis ===

impl Redis {
    pub fn new(options: Arc<RedisOptions>) -> Arc<Self> {
        let connector = Arc::new(Connector::new(options.clone()));
        let notes = Arc::new(Notes::default());
        let lines = (0..options.connections.max(1)).map(|_| Line::new(connector.clone(), notes.clone()));
        Arc::new(Self {
            lines: lines.collect(),
            options,
            spread: RandomState::new(),
        })
    }

    pub fn options(&self) -> &RedisOptions {
        &self.options
    }

    /// Connects, and sees whether operations would be done. What it is, such as `redis 7.0.15`.
    ///
    /// # Errors
    /// What is wrong, in one line for the operator.
    pub async fn probe(options: Arc<RedisOptions>) -> Result<String, String> {
        let timeout = options.timeout;
        let connecting = Connector::new(options);
        match tokio::time::timeout(timeout, connecting.version()).await {
            Ok(found) => found.map_err(|trouble| trouble.for_operators),
            Err(_) => Err(format!("it did not answer within {timeout:?}")),
        }
    }

    /// The connection that the operations of a site go over.
    fn line(&self, site: &str) -> &Line {
        let lines = self.lines.len() as u64;
        &self.lines[usize::try_from(self.spread.hash_one(site) % lines).unwrap_or(0)]
    }

    fn counts(&self) -> RedisCounts {
        let notes = self.lines[0].notes();
        RedisCounts {
            endpoint: self.options.endpoint.to_string(),
            done: notes.done.load(Relaxed),
            failed: notes.failed.load(Relaxed),
            refused: notes.refused.load(Relaxed),
            connections: self.lines.len(),
            broken: self.lines.iter().filter(|line| line.is_broken()).count(),
        }
    }
}

// === impl Notes ===

impl Notes {
    /// Says that there is trouble, unless that was just said.
    fn trouble(&self, options: &RedisOptions, what: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.trouble.is_some_and(|at| at.elapsed() < QUIET) {
            return;
        }
        (told.trouble, told.in_trouble) = (Some(Instant::now()), true);
        let endpoint = &options.endpoint;
        let (failed, refused) = (self.failed.load(Relaxed), self.refused.load(Relaxed));
        tracing::warn!(
            redis = %endpoint, failed, refused,
            "Redis cannot be used: {what}. Policies that ask for key-value or counters are told so until it can"
        );
    }

    /// Says that trouble is over, if any was told of.
    fn well(&self, options: &RedisOptions) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut told.in_trouble) {
            let (failed, refused) = (self.failed.load(Relaxed), self.refused.load(Relaxed));
            tracing::info!(redis = %options.endpoint, failed, refused, "Redis can be used again");
        }
    }
}

/// The Redises of a process.
#[derive(Default)]
pub struct Redises(Mutex<HashMap<Arc<RedisOptions>, Weak<Redis>>>);

/// Those of this process: connections are its own, whatever else there are several of.
pub fn redises() -> &'static Redises {
    static REDISES: LazyLock<Redises> = LazyLock::new(Redises::default);
    &REDISES
}

impl Redises {
    /// The same one for as long as anyone uses it.
    pub fn of(&self, options: &Arc<RedisOptions>) -> Arc<Redis> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(redis) = known.get(options).and_then(Weak::upgrade) {
            return redis;
        }
        known.retain(|_, redis| redis.strong_count() > 0);
        let redis = Redis::new(options.clone());
        known.insert(options.clone(), Arc::downgrade(&redis));
        redis
    }

    /// Of each that is in use, by its endpoint; those that differ otherwise are counted together.
    pub fn counts(&self) -> Vec<RedisCounts> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = known.values().filter_map(Weak::upgrade).map(|redis| redis.counts());
        let mut by_endpoint: Vec<RedisCounts> = Vec::new();
        for counts in all {
            match by_endpoint.iter_mut().find(|sum| sum.endpoint == counts.endpoint) {
                Some(sum) => sum.add(&counts),
                None => by_endpoint.push(counts),
            }
        }
        by_endpoint.sort_by(|a, b| a.endpoint.cmp(&b.endpoint));
        by_endpoint
    }
}

impl RedisCounts {
    fn add(&mut self, other: &Self) {
        self.done += other.done;
        self.failed += other.failed;
        self.refused += other.refused;
        self.connections += other.connections;
        self.broken += other.broken;
    }
}
