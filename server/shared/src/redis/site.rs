//! The pairs and token buckets of one site in Redis: each operation is one call of a script.
//!
//! All keys of a site have one hash tag, so that they lie together wherever keys are spread. Names of buckets, policies and
//! keys are values to Redis, framed by their lengths: none can be taken for another.
use super::{Redis, trouble::Trouble};
use crate::{
    backend::{
        Backend, Bounds, Bucket, BucketName, MAX_KEY, OVERHEAD, PAGE_BYTES, PAGE_KEYS, PAGE_LOOKS, Page, Taken,
        Unavailable,
    },
    tokens::ROUNDING,
};
use ::redis::{FromRedisValue, Script, ScriptInvocation, Value};
use async_trait::async_trait;
use sha2::{Digest, Sha256};
use std::{
    fmt::Write,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

static PAIRS: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("pairs.lua")));
static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("take.lua")));

/// Bytes of a value. Others wait while it is sent, and longer ones belong into a file.
pub(super) const MAX_VALUE: usize = 256 << 10;

/// Microseconds; a time to live beyond is for ever, as numbers of a script are exact up to 2^53.
const LONGEST_LIFE: u128 = 1 << 52;

/// What one site keeps in a Redis.
pub struct RedisSite {
    redis: Arc<Redis>,
    site: Arc<str>,
    /// Of `pairs.lua` and of `take.lua`.
    pair_keys: [String; 5],
    token_keys: [String; 2],
    bounds: Mutex<Bounds>,
    /// The moment that tests say it is, in microseconds since 1970. `None`: by the clock of Redis.
    #[cfg(test)]
    pub(super) now: Mutex<Option<u64>>,
}

impl RedisSite {
    pub fn new(redis: Arc<Redis>, site: Arc<str>, bounds: &Bounds) -> Self {
        let key = |kind: &str| format!("{}:{{{}}}:{kind}", redis.options().prefix, plain(&site));
        Self {
            pair_keys: ["values", "order", "uses", "ends", "sums"].map(key),
            token_keys: ["tokens", "full"].map(key),
            redis,
            site,
            bounds: Mutex::new(*bounds),
            #[cfg(test)]
            now: Mutex::new(None),
        }
    }

    /// From now on, no more than this: what is too much goes with the next writes.
    pub fn limit(&self, bounds: &Bounds) {
        *self.bounds.lock().unwrap_or_else(PoisonError::into_inner) = *bounds;
    }

    #[cfg(test)]
    pub(super) fn redis(&self) -> &Redis {
        &self.redis
    }

    fn bounds(&self) -> Bounds {
        *self.bounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(not(test))]
    fn now(&self) -> String {
        String::new()
    }

    #[cfg(test)]
    fn now(&self) -> String {
        self.now.lock().unwrap().map_or_else(String::new, |now| now.to_string())
    }

    async fn call(&self, invocation: &ScriptInvocation<'_>) -> Result<Answer, Unavailable> {
        let answer: Value = self.redis.line(&self.site).call(invocation).await?;
        Answer::read(answer)
    }

    /// An operation of `pairs.lua`, to which its own arguments are to be added.
    fn pair(&self, operation: &str, bucket: &Bucket, key: &str) -> ScriptInvocation<'static> {
        let mut invocation = PAIRS.prepare_invoke();
        for each in &self.pair_keys {
            invocation.key(each);
        }
        let bounds = self.bounds();
        invocation
            .arg(operation)
            .arg(self.now())
            .arg(bounds.pair_bytes)
            .arg(bounds.pairs)
            .arg(OVERHEAD)
            .arg(framed(&bucket.name))
            .arg(key);
        invocation
    }
}

#[async_trait]
impl Backend for RedisSite {
    async fn get(&self, bucket: &Bucket, key: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        match key.len() > MAX_KEY {
            true => Ok(None),
            false => Ok(self.call(&self.pair("get", bucket, key)).await?.value()?),
        }
    }

    async fn set(&self, bucket: &Bucket, key: &str, value: Vec<u8>) -> Result<(), Unavailable> {
        if key.len() > MAX_KEY {
            return Err(Unavailable::key_too_long());
        }
        if value.len() > MAX_VALUE {
            return Err(Unavailable(format!("the value is longer than {MAX_VALUE} bytes")));
        }
        let mut set = self.pair("set", bucket, key);
        set.arg(value).arg(life(bucket));
        self.call(&set).await?.done()
    }

    async fn delete(&self, bucket: &Bucket, key: &str) -> Result<(), Unavailable> {
        match key.len() > MAX_KEY {
            true => Ok(()),
            false => self.call(&self.pair("delete", bucket, key)).await?.done(),
        }
    }

    async fn exists(&self, bucket: &Bucket, key: &str) -> Result<bool, Unavailable> {
        match key.len() > MAX_KEY {
            true => Ok(false),
            false => Ok(self.call(&self.pair("exists", bucket, key)).await?.value()?.is_some()),
        }
    }

    async fn keys(&self, bucket: &Bucket, cursor: Option<u64>) -> Result<Page, Unavailable> {
        let mut keys = self.pair("keys", bucket, "");
        keys.arg(cursor.unwrap_or(0))
            .arg(PAGE_KEYS)
            .arg(PAGE_BYTES)
            .arg(PAGE_LOOKS);
        let (cursor, keys): (String, Vec<String>) = self.call(&keys).await?.two()?;
        Ok(Page {
            keys,
            cursor: cursor.parse().ok(),
        })
    }

    async fn increment(&self, bucket: &Bucket, key: &str, delta: u64) -> Result<u64, Unavailable> {
        if key.len() > MAX_KEY {
            return Err(Unavailable::key_too_long());
        }
        let mut increment = self.pair("increment", bucket, key);
        increment.arg(delta).arg(life(bucket));
        let sum = self.call(&increment).await?.value()?;
        let sum = sum.and_then(|digits| std::str::from_utf8(&digits).ok()?.parse().ok());
        Ok(sum.ok_or_else(Trouble::unexpected)?)
    }

    async fn take(&self, policy: &str, key: &str, capacity: u64, refill: f64) -> Result<Taken, Unavailable> {
        let mut take = TAKE.prepare_invoke();
        for each in &self.token_keys {
            take.key(each);
        }
        take.arg(self.now())
            .arg(self.bounds().token_buckets)
            .arg(&name(policy, key)[..])
            .arg(capacity)
            .arg(format!("{refill:e}"))
            .arg(ROUNDING);
        let (granted, level): (bool, String) = self.call(&take).await?.two()?;
        let level = level.parse().map_err(|_| Trouble::unexpected())?;
        Ok(Taken::leaving(level, granted, capacity, refill))
    }
}

/// What a script gave: a word, and what belongs to it.
struct Answer(Vec<Value>);

impl Answer {
    fn read(answer: Value) -> Result<Self, Unavailable> {
        let Value::Array(mut parts) = answer else {
            return Err(Trouble::unexpected().into());
        };
        if parts.is_empty() {
            return Err(Trouble::unexpected().into());
        }
        let word: String = own(parts.remove(0))?;
        match word.as_str() {
            "done" => Ok(Self(parts)),
            "room" => Err(Unavailable::no_room()),
            "number" => Err(Unavailable::no_number()),
            "overflow" => Err(Unavailable::overflow()),
            "many" => Err(Unavailable::no_token_bucket(
                parts.pop().map(own).transpose()?.unwrap_or_default(),
            )),
            _ => Err(Trouble::unexpected().into()),
        }
    }

    fn done(self) -> Result<(), Unavailable> {
        Ok(())
    }

    fn value(mut self) -> Result<Option<Vec<u8>>, Unavailable> {
        self.0.pop().map(own).transpose()
    }

    fn two<A: FromRedisValue, B: FromRedisValue>(self) -> Result<(A, B), Unavailable> {
        let [a, b]: [Value; 2] = self.0.try_into().map_err(|_| Trouble::unexpected())?;
        Ok((own(a)?, own(b)?))
    }
}

fn own<T: FromRedisValue>(value: Value) -> Result<T, Unavailable> {
    ::redis::from_redis_value(value).map_err(|_| Trouble::unexpected().into())
}

/// How long a pair that is made through a bucket lasts, in microseconds; empty: for ever.
fn life(bucket: &Bucket) -> String {
    let micros = bucket.time_to_live.as_ref().map(Duration::as_micros);
    let micros = micros.filter(|micros| *micros < LONGEST_LIFE);
    micros.map_or_else(String::new, |micros| micros.to_string())
}

/// A bucket's name, so that none is the beginning of another: a letter for its kind, its length, a colon, and it.
fn framed(bucket: &BucketName) -> String {
    let (kind, name) = match bucket {
        BucketName::Own(name) => ('o', name),
        BucketName::Shared(name) => ('s', name),
    };
    format!("{kind}{}:{name}", name.len())
}

/// The name of a token bucket. Keys are often secret, as long as clients like, and not needed again.
fn name(policy: &str, key: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update((policy.len() as u64).to_le_bytes());
    hash.update(policy);
    hash.update(key);
    hash.finalize().into()
}

/// A site's name as a part of a key: what is not a letter, a digit or one of `-._` as `%` and two hexadecimal digits.
fn plain(site: &str) -> String {
    let mut text = String::with_capacity(site.len());
    for byte in site.bytes() {
        match byte {
            b'-' | b'.' | b'_' => text.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => text.push(byte.into()),
            // Writing to memory does not fail.
            _ => drop(write!(text, "%{byte:02x}")),
        }
    }
    text
}
