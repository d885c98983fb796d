//! Redis answers as memory does: the same sequences of operations at the same moments, answer by answer.
use super::*;
use crate::{
    Backend, Bucket, BucketName, Page, Taken, Unavailable,
    backend::{PAGE_KEYS, PAGE_LOOKS},
    pairs::Pairs,
    tokens::TokenBuckets,
};
use std::time::SystemTime;

/// Both backends at one moment, which only passes when told.
struct Both {
    pairs: Pairs,
    tokens: TokenBuckets,
    began: Instant,
    redis: RedisSite,
    /// Microseconds since 1970 at the beginning: ahead, so that nothing is over for Redis before it is for the test.
    epoch: u64,
    elapsed: u64,
}

impl Both {
    fn new(server: &Server, site: &str, bounds: &Bounds) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let both = Self {
            pairs: Pairs::new(bounds.pair_bytes, bounds.pairs),
            tokens: TokenBuckets::new(bounds.token_buckets),
            began: Instant::now(),
            redis: server.site(site, bounds),
            epoch: now.as_micros() as u64 + 86_400_000_000,
            elapsed: 0,
        };
        *both.redis.now.lock().unwrap() = Some(both.epoch);
        both
    }

    fn pass(&mut self, microseconds: u64) {
        self.elapsed += microseconds;
        *self.redis.now.lock().unwrap() = Some(self.epoch + self.elapsed);
    }

    fn now(&self) -> Instant {
        self.began + Duration::from_micros(self.elapsed)
    }

    async fn set(&mut self, bucket: &Bucket, key: &str, value: &[u8]) -> Result<(), Unavailable> {
        let now = self.now();
        let expected = self.pairs.set(bucket, key, value.to_vec(), now);
        assert_eq!(
            self.redis.set(bucket, key, value.to_vec()).await,
            expected,
            "set {key:?}"
        );
        expected
    }

    async fn get(&mut self, bucket: &Bucket, key: &str) -> Option<Vec<u8>> {
        let now = self.now();
        let expected = self.pairs.get(&bucket.name, key, now).map(<[u8]>::to_vec);
        assert_eq!(
            self.redis.get(bucket, key).await,
            Ok(expected.clone()),
            "get {bucket:?} {key:?}"
        );
        expected
    }

    async fn exists(&mut self, bucket: &Bucket, key: &str) {
        let now = self.now();
        let expected = self.pairs.get(&bucket.name, key, now).is_some();
        assert_eq!(self.redis.exists(bucket, key).await, Ok(expected), "exists {key:?}");
    }

    async fn delete(&mut self, bucket: &Bucket, key: &str) {
        self.pairs.delete(&bucket.name, key);
        assert_eq!(self.redis.delete(bucket, key).await, Ok(()));
    }

    async fn increment(&mut self, bucket: &Bucket, key: &str, delta: u64) -> Result<u64, Unavailable> {
        let now = self.now();
        let expected = self.pairs.increment(bucket, key, delta, now);
        let found = self.redis.increment(bucket, key, delta).await;
        assert_eq!(found, expected, "increment {key:?} by {delta}");
        expected
    }

    async fn page(&mut self, bucket: &Bucket, cursor: Option<u64>) -> Page {
        let expected = self.pairs.keys(&bucket.name, cursor, self.now());
        let found = self.redis.keys(bucket, cursor).await.unwrap();
        assert_eq!(found, expected, "keys of {bucket:?} from {cursor:?}");
        found
    }

    async fn take(&mut self, policy: &str, key: &str, capacity: u64, refill: f64) -> Result<Taken, Unavailable> {
        let now = self.now();
        let expected = self.tokens.take(policy, key, capacity, refill, now);
        let found = self.redis.take(policy, key, capacity, refill).await;
        assert_eq!(
            found, expected,
            "take {policy:?} {key:?} {capacity} {refill} at {} us",
            self.elapsed
        );
        expected
    }
}

fn bucket(name: BucketName, seconds: Option<u64>) -> Bucket {
    Bucket {
        name,
        time_to_live: seconds.map(Duration::from_secs),
    }
}

fn own(name: &str, seconds: Option<u64>) -> Bucket {
    bucket(BucketName::Own(name.into()), seconds)
}

struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}

/// Keys and buckets that would be taken for each other if their names were only put together.
const KEYS: [&str; 10] = ["", "a", "1:a", "o1:a", ":", "{a}", "\0", "ä", "a b\r\n", "*"];

#[tokio::test]
async fn random_pairs_are_as_in_memory() {
    let server = Server::start(&[]);
    for seed in 0..12 {
        let mut random = Random(seed);
        let bounds = Bounds {
            pair_bytes: 3000 + random.below(3000) as usize,
            pairs: 2 + random.below(10) as usize,
            token_buckets: 0,
        };
        let mut both = Both::new(&server, &format!("site {seed}"), &bounds);
        let buckets = [
            own("a", None),
            own("a", Some(3)),
            own("1:a", Some(1)),
            bucket(BucketName::Shared("a".into()), Some(100)),
            own("", Some(u64::MAX)),
        ];
        for _ in 0..400 {
            let (bucket, key) = (random.of(&buckets).clone(), *random.of(&KEYS));
            match random.below(8) {
                0 => drop(both.set(&bucket, key, b"12").await),
                1 => {
                    let length = *random.of(&[0, 1, 200, 1500, 2500, 7000]);
                    drop(both.set(&bucket, key, &vec![b'\xff'; length]).await);
                }
                2 => both.delete(&bucket, key).await,
                3 => both.exists(&bucket, key).await,
                4 => drop(both.get(&bucket, key).await),
                5 => drop(both.page(&bucket, Some(random.below(50))).await),
                _ => drop(both.increment(&bucket, key, random.below(1000)).await),
            }
            let time = *random.of(&[0, 0, 1, 999_999, 1_000_000]);
            both.pass(time);
        }
    }
}

#[tokio::test]
async fn numbers_are_added_as_in_memory() {
    let server = Server::start(&[]);
    let mut both = Both::new(&server, "a", &BOUNDS);
    let bucket = own("policy", None);
    const MOST: u64 = u64::MAX;
    let texts = [
        "0",
        "1",
        "9",
        "+7",
        "007",
        "00000000000000000000000000009",
        "+",
        "",
        "-1",
        "1.5",
        "1e3",
        " 1",
        "1 ",
        "0x10",
        "nan",
        "9999999999",
        "10000000000",
        "18446744073709551614",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999",
        "100000000000000000000",
        "\u{661}",
    ];
    for text in texts {
        for delta in [
            0,
            1,
            2,
            9_999_999_999,
            10_000_000_000,
            1 << 53,
            (1 << 53) + 1,
            MOST - 1,
            MOST,
        ] {
            both.set(&bucket, "n", text.as_bytes()).await.unwrap();
            let _ = both.increment(&bucket, "n", delta).await;
            both.get(&bucket, "n").await;
        }
    }
    both.set(&bucket, "n", &[0xff]).await.unwrap();
    assert_eq!(both.increment(&bucket, "n", 1).await, Err(Unavailable::no_number()));
    both.delete(&bucket, "n").await;
    assert_eq!(both.increment(&bucket, "n", MOST).await, Ok(MOST));
    assert_eq!(both.increment(&bucket, "n", 1).await, Err(Unavailable::overflow()));
}

#[tokio::test]
async fn numbers_are_counted_for_a_fixed_time() {
    let server = Server::start(&[]);
    let mut both = Both::new(&server, "a", &BOUNDS);
    let bucket = own("policy", Some(10));
    assert_eq!(both.increment(&bucket, "n", 5).await, Ok(5));
    both.pass(9_999_999);
    assert_eq!(both.increment(&bucket, "n", 6).await, Ok(11));
    both.pass(1);
    assert_eq!(both.increment(&bucket, "n", 1).await, Ok(1));
    both.set(&bucket, "n", b"7").await.unwrap();
    both.pass(9_999_999);
    assert_eq!(both.get(&bucket, "n").await.as_deref(), Some(&b"7"[..]));
    both.pass(1);
    assert_eq!(both.get(&bucket, "n").await, None);
}

#[tokio::test]
async fn sizes_are_bounded_as_in_memory() {
    let server = Server::start(&[]);
    let mut both = Both::new(&server, "a", &BOUNDS);
    let bucket = own("policy", None);
    let (longest, too_long) = ("k".repeat(1024), "k".repeat(1025));
    both.set(&bucket, &longest, b"1").await.unwrap();
    both.get(&bucket, &longest).await;
    both.set(&bucket, &too_long, b"1").await.unwrap_err();
    both.increment(&bucket, &too_long, 1).await.unwrap_err();
    both.get(&bucket, &too_long).await;
    both.exists(&bucket, &too_long).await;
    both.delete(&bucket, &too_long).await;
    // The one difference: over a network, a value is no longer than this.
    let value = vec![0; super::super::site::MAX_VALUE + 1];
    let refused = both.redis.set(&bucket, "long", value).await.unwrap_err();
    assert_eq!(refused.0, "the value is longer than 262144 bytes");
    for (pair_bytes, pairs) in [(0, 10), (10_000, 0), (330, 1)] {
        let bounds = Bounds {
            pair_bytes,
            pairs,
            token_buckets: 0,
        };
        let mut both = Both::new(&server, &format!("{pair_bytes}"), &bounds);
        for value in ["", "1", "123456789", "1234567890"] {
            let _ = both.set(&bucket, "k", value.as_bytes()).await;
            let _ = both.increment(&bucket, "k", 9_999_999_999).await;
            both.get(&bucket, "k").await;
        }
        let _ = both.take("p", "k", 1, 0.0).await;
    }
}

#[tokio::test]
async fn keys_come_in_the_same_pages() {
    let server = Server::start(&[]);
    let mut both = Both::new(&server, "a", &BOUNDS);
    let (ours, theirs) = (own("ours", None), own("theirs", None));
    let count = 2 * PAGE_LOOKS + 100;
    for at in 0..count {
        let bucket = if at % 2 == 0 { &ours } else { &theirs };
        // Some pages end for their bytes, others for their number.
        let key = format!("{at}{}", "k".repeat(if at < 300 { 1000 } else { 0 }));
        both.set(bucket, &key, b"").await.unwrap();
    }
    let (mut keys, mut cursor, mut pages) = (0, None, 0);
    loop {
        let page = both.page(&ours, cursor).await;
        (keys, pages) = (keys + page.keys.len(), pages + 1);
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(keys, count / 2);
    assert!(pages > keys / PAGE_KEYS, "{pages}");
    // A page with nothing in it, and more behind it.
    let none = own("nobody", None);
    let page = both.page(&none, None).await;
    assert!(page.keys.is_empty() && page.cursor.is_some());
    both.page(&ours, Some(u64::MAX)).await;
}

const CAPACITIES: [u64; 6] = [1, 2, 3, 10, 1 << 53, u64::MAX];
const RATES: [f64; 10] = [0.0, 0.001, 0.3, 1.0, 7.0, 1000.0, 1e9, 1e300, 1e-300, f64::MIN_POSITIVE];
/// Policies and keys that would be one bucket if their names were only put together.
const BUCKETS: [(&str, &str); 5] = [("a", "bc"), ("ab", "c"), ("a", "b"), ("", "abc"), ("abc", "")];
const STEPS: [u64; 7] = [0, 1, 333, 499_999, 500_000, 1_000_000, 60_000_000];

/// Limits change from take to take, as when their configuration is loaded anew. Every bucket is there from the beginning:
/// full ones are forgotten when another is made, and which of several comes first is not said.
#[tokio::test]
async fn random_takes_are_as_in_memory() {
    let server = Server::start(&[]);
    for seed in 0..8 {
        let mut random = Random(seed);
        let mut both = Both::new(&server, &format!("site {seed}"), &BOUNDS);
        let few = [(3, 0.5), (1, 2.0), (*random.of(&CAPACITIES), *random.of(&RATES))];
        for (policy, key) in BUCKETS {
            both.take(policy, key, 3, 0.0).await.unwrap();
        }
        for _ in 0..400 {
            let (policy, key) = *random.of(&BUCKETS);
            let (capacity, refill) = match random.below(4) {
                0 => (*random.of(&CAPACITIES), *random.of(&RATES)),
                _ => *random.of(&few),
            };
            both.take(policy, key, capacity, refill).await.unwrap();
            both.pass(*random.of(&STEPS));
        }
    }
}

/// Each bucket has its own limit: which of several full ones are forgotten first makes no difference then.
#[tokio::test]
async fn buckets_are_forgotten_as_in_memory() {
    let server = Server::start(&[]);
    for seed in 0..8 {
        let mut random = Random(seed);
        let bounds = Bounds {
            token_buckets: random.below(5) as usize,
            ..BOUNDS
        };
        let mut both = Both::new(&server, &format!("site {seed}"), &bounds);
        let limits = BUCKETS.map(|_| (*random.of(&CAPACITIES[..4]), *random.of(&RATES)));
        let mut refused = 0;
        for _ in 0..400 {
            let at = random.below(BUCKETS.len() as u64) as usize;
            let ((policy, key), (capacity, refill)) = (BUCKETS[at], limits[at]);
            refused += usize::from(both.take(policy, key, capacity, refill).await.is_err());
            both.pass(*random.of(&STEPS));
        }
        assert_eq!(refused == 400, bounds.token_buckets == 0);
    }
}

/// By the clock of Redis: many clients of three servers, and no more than the limit.
#[tokio::test(flavor = "multi_thread")]
async fn the_limit_is_exact_for_three_servers() {
    let server = Server::start(&[]);
    let sites: Vec<Arc<RedisSite>> = (0..3).map(|_| Arc::new(server.site("a", &BOUNDS))).collect();
    let bucket = Arc::new(own("policy", None));
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..64 {
        let (site, bucket) = (sites[client % 3].clone(), bucket.clone());
        clients.spawn(async move {
            let mut granted = 0;
            for _ in 0..25 {
                granted += u64::from(site.take("policy", "key", 1000, 0.0).await.unwrap().granted);
                site.increment(&bucket, "n", 3).await.unwrap();
            }
            granted
        });
    }
    let granted: u64 = clients.join_all().await.into_iter().sum();
    assert_eq!(granted, 1000);
    let counted = sites[0].get(&bucket, "n").await.unwrap();
    assert_eq!(counted.as_deref(), Some(&b"4800"[..]));
}

#[tokio::test]
async fn sites_prefixes_and_databases_are_apart() {
    let server = Server::start(&[]);
    let bucket = own("policy", None);
    let options = server.options();
    let of = |prefix: &str, database: u16, site: &str| {
        let mut options = options.clone();
        options.prefix = prefix.parse().unwrap();
        options.endpoint.database = database;
        RedisSite::new(Redis::new(Arc::new(options)), site.into(), &BOUNDS)
    };
    let sites = [
        of("p", 0, "a"),
        of("p", 0, "a}:{b"),
        of("p", 0, "a%7d"),
        of("p", 0, "a}"),
        of("p", 0, "A"),
        of("p", 1, "a"),
        of("p:x", 0, "a"),
    ];
    for (at, site) in sites.iter().enumerate() {
        site.set(&bucket, "k", vec![at as u8]).await.unwrap();
        assert!(site.take("p", "k", 1, 0.0).await.unwrap().granted, "{at}");
    }
    for (at, site) in sites.iter().enumerate() {
        assert_eq!(site.get(&bucket, "k").await, Ok(Some(vec![at as u8])));
        assert!(!site.take("p", "k", 1, 0.0).await.unwrap().granted, "{at}");
    }
}

/// Of a site whose pairs and buckets all come to an end, nothing stays in Redis; of others, everything.
#[tokio::test]
async fn what_has_ended_leaves_nothing() {
    let server = Server::start(&[]);
    let brief = Bucket {
        time_to_live: Some(Duration::from_millis(50)),
        ..own("policy", None)
    };
    let (ending, lasting) = (server.site("ending", &BOUNDS), server.site("lasting", &BOUNDS));
    ending.set(&brief, "k", vec![1]).await.unwrap();
    assert!(ending.take("p", "k", 2, 20.0).await.unwrap().granted);
    lasting.set(&brief, "k", vec![1]).await.unwrap();
    lasting.set(&own("policy", None), "l", vec![1]).await.unwrap();
    assert!(lasting.take("p", "k", 2, 20.0).await.unwrap().granted);
    assert!(lasting.take("p", "l", 2, 0.0).await.unwrap().granted);
    let client = ::redis::Client::open(server.socket().to_str().map(|path| format!("unix:{path}")).unwrap()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let start = Instant::now();
    loop {
        let mut keys: Vec<String> = ::redis::cmd("KEYS")
            .arg("*")
            .query_async(&mut connection)
            .await
            .unwrap();
        keys.retain(|key| !key.ends_with(":probe"));
        if keys.iter().all(|key| key.starts_with("wasmserve:{lasting}:")) {
            // Without `sums` of a site that never counted, there are five of pairs and two of token buckets.
            assert_eq!(keys.len(), 7, "{keys:?}");
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{keys:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(lasting.get(&brief, "k").await, Ok(None));
    assert_eq!(lasting.get(&brief, "l").await, Ok(Some(vec![1])));
}
