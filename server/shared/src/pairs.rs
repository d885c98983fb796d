//! Key-value pairs in memory, bounded: what has expired goes first, then what was used least recently.
use super::backend::{Bucket, BucketName, MAX_KEY, OVERHEAD, PAGE_BYTES, PAGE_KEYS, PAGE_LOOKS, Page, Unavailable};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Instant,
};

/// The pairs of a site.
pub(super) struct Pairs {
    most_bytes: usize,
    most_pairs: usize,
    bytes: usize,
    /// The next pair's number, and the next use's.
    next: u64,
    numbers: HashMap<BucketName, HashMap<Arc<str>, u64>>,
    /// By number, and so in the order in which they were made.
    pairs: BTreeMap<u64, Pair>,
    by_use: BTreeMap<u64, u64>,
    by_expiry: BTreeSet<(Instant, u64)>,
}

struct Pair {
    bucket: BucketName,
    key: Arc<str>,
    value: Vec<u8>,
    used: u64,
    expires: Option<Instant>,
}

impl Pair {
    fn weight(&self) -> usize {
        weight(&self.key, &self.value)
    }

    fn has_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

fn weight(key: &str, value: &[u8]) -> usize {
    key.len() + value.len() + OVERHEAD
}

impl Pairs {
    pub fn new(most_bytes: usize, most_pairs: usize) -> Self {
        Self {
            most_bytes,
            most_pairs,
            bytes: 0,
            next: 0,
            numbers: HashMap::new(),
            pairs: BTreeMap::new(),
            by_use: BTreeMap::new(),
            by_expiry: BTreeSet::new(),
        }
    }

    pub fn limit(&mut self, most_bytes: usize, most_pairs: usize, now: Instant) {
        (self.most_bytes, self.most_pairs) = (most_bytes, most_pairs);
        self.make_room(now);
    }

    pub fn get(&mut self, bucket: &BucketName, key: &str, now: Instant) -> Option<&[u8]> {
        let number = self.find(bucket, key, now)?;
        let turn = self.turn();
        let pair = self.pairs.get_mut(&number)?;
        self.by_use.remove(&pair.used);
        self.by_use.insert(turn, number);
        pair.used = turn;
        Some(&pair.value)
    }

    pub fn set(&mut self, bucket: &Bucket, key: &str, value: Vec<u8>, now: Instant) -> Result<(), Unavailable> {
        self.check(key, &value)?;
        self.delete(&bucket.name, key);
        let expires = bucket.time_to_live.and_then(|time| now.checked_add(time));
        self.insert(bucket.name.clone(), key.into(), value, expires);
        self.make_room(now);
        Ok(())
    }

    pub fn delete(&mut self, bucket: &BucketName, key: &str) {
        if let Some(number) = self.number(bucket, key) {
            self.remove(number);
        }
    }

    pub fn increment(&mut self, bucket: &Bucket, key: &str, delta: u64, now: Instant) -> Result<u64, Unavailable> {
        let Some(value) = self.get(&bucket.name, key, now) else {
            self.set(bucket, key, delta.to_string().into(), now)?;
            return Ok(delta);
        };
        let number = std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse::<u64>().ok());
        let number = number.ok_or_else(Unavailable::no_number)?;
        let sum = number.checked_add(delta).ok_or_else(Unavailable::overflow)?;
        let text = sum.to_string().into_bytes();
        self.check(key, &text)?;
        self.replace(&bucket.name, key, text);
        self.make_room(now);
        Ok(sum)
    }

    /// Keys in the order in which their pairs were made.
    pub fn keys(&self, bucket: &BucketName, cursor: Option<u64>, now: Instant) -> Page {
        let (mut page, mut bytes) = (Page::default(), 0);
        for (looked, (number, pair)) in self.pairs.range(cursor.unwrap_or(0)..).enumerate() {
            if looked == PAGE_LOOKS || page.keys.len() == PAGE_KEYS || bytes >= PAGE_BYTES {
                page.cursor = Some(*number);
                break;
            }
            if pair.bucket == *bucket && !pair.has_expired(now) {
                bytes += pair.key.len();
                page.keys.push(pair.key.to_string());
            }
        }
        page
    }

    fn check(&self, key: &str, value: &[u8]) -> Result<(), Unavailable> {
        if key.len() > MAX_KEY {
            return Err(Unavailable::key_too_long());
        }
        if weight(key, value) > self.most_bytes || self.most_pairs == 0 {
            return Err(Unavailable::no_room());
        }
        Ok(())
    }

    fn number(&self, bucket: &BucketName, key: &str) -> Option<u64> {
        self.numbers.get(bucket)?.get(key).copied()
    }

    /// The number of a pair that has not expired.
    fn find(&mut self, bucket: &BucketName, key: &str, now: Instant) -> Option<u64> {
        let number = self.number(bucket, key)?;
        if self.pairs.get(&number).is_some_and(|pair| pair.has_expired(now)) {
            self.remove(number);
            return None;
        }
        Some(number)
    }

    fn turn(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn insert(&mut self, bucket: BucketName, key: Arc<str>, value: Vec<u8>, expires: Option<Instant>) {
        let number = self.turn();
        self.numbers
            .entry(bucket.clone())
            .or_default()
            .insert(key.clone(), number);
        self.by_use.insert(number, number);
        if let Some(expires) = expires {
            self.by_expiry.insert((expires, number));
        }
        let pair = Pair {
            bucket,
            key,
            value,
            used: number,
            expires,
        };
        self.bytes += pair.weight();
        self.pairs.insert(number, pair);
    }

    fn replace(&mut self, bucket: &BucketName, key: &str, value: Vec<u8>) {
        let Some(number) = self.number(bucket, key) else { return };
        let Some(pair) = self.pairs.get_mut(&number) else {
            return;
        };
        self.bytes = self.bytes - pair.value.len() + value.len();
        pair.value = value;
    }

    fn remove(&mut self, number: u64) {
        let Some(pair) = self.pairs.remove(&number) else { return };
        self.bytes -= pair.weight();
        self.by_use.remove(&pair.used);
        if let Some(expires) = pair.expires {
            self.by_expiry.remove(&(expires, number));
        }
        if let Some(keys) = self.numbers.get_mut(&pair.bucket) {
            keys.remove(&pair.key);
            if keys.is_empty() {
                self.numbers.remove(&pair.bucket);
            }
        }
    }

    fn make_room(&mut self, now: Instant) {
        while self.bytes > self.most_bytes || self.pairs.len() > self.most_pairs {
            let expired = self.by_expiry.first().filter(|(expires, _)| *expires <= now);
            let Some(number) = expired
                .map(|(_, number)| *number)
                .or_else(|| self.by_use.first_key_value().map(|(_, number)| *number))
            else {
                return;
            };
            self.remove(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn bucket(name: &str, time_to_live: Option<u64>) -> Bucket {
        Bucket {
            name: BucketName::Own(name.into()),
            time_to_live: time_to_live.map(Duration::from_secs),
        }
    }

    fn text(pairs: &mut Pairs, bucket: &Bucket, key: &str, now: Instant) -> Option<String> {
        let value = pairs.get(&bucket.name, key, now)?;
        Some(String::from_utf8(value.to_vec()).unwrap())
    }

    /// Nothing is counted that is not there, and nothing is there that is not counted.
    fn check(pairs: &Pairs) {
        assert_eq!(pairs.bytes, pairs.pairs.values().map(Pair::weight).sum::<usize>());
        assert_eq!(pairs.by_use.len(), pairs.pairs.len());
        assert_eq!(
            pairs.numbers.values().map(HashMap::len).sum::<usize>(),
            pairs.pairs.len()
        );
        let expiring = pairs.pairs.values().filter(|pair| pair.expires.is_some()).count();
        assert_eq!(pairs.by_expiry.len(), expiring);
        assert!(pairs.bytes <= pairs.most_bytes && pairs.pairs.len() <= pairs.most_pairs);
    }

    #[test]
    fn what_is_written_is_read_and_buckets_are_apart() {
        let (mut pairs, now) = (Pairs::new(1 << 20, 100), Instant::now());
        let (a, b) = (bucket("a", None), bucket("b", None));
        pairs.set(&a, "key", b"one".into(), now).unwrap();
        pairs.set(&a, "key", b"two".into(), now).unwrap();
        assert_eq!(text(&mut pairs, &a, "key", now).as_deref(), Some("two"));
        assert_eq!(text(&mut pairs, &b, "key", now), None);
        let shared = Bucket {
            name: BucketName::Shared("a".into()),
            time_to_live: None,
        };
        assert_eq!(text(&mut pairs, &shared, "key", now), None);
        pairs.delete(&a.name, "key");
        assert_eq!(text(&mut pairs, &a, "key", now), None);
        check(&pairs);
    }

    #[test]
    fn the_least_recently_used_goes_first_and_what_expired_before_it() {
        let (mut pairs, now) = (Pairs::new(1 << 20, 3), Instant::now());
        let (lasting, brief) = (bucket("a", None), bucket("a", Some(1)));
        for key in ["one", "two"] {
            pairs.set(&lasting, key, Vec::new(), now).unwrap();
        }
        pairs.set(&brief, "three", Vec::new(), now).unwrap();
        pairs.get(&lasting.name, "one", now).unwrap();
        let later = now + Duration::from_secs(2);
        pairs.set(&lasting, "four", Vec::new(), later).unwrap();
        assert_eq!(pairs.keys(&lasting.name, None, later).keys, ["one", "two", "four"]);
        pairs.set(&lasting, "five", Vec::new(), later).unwrap();
        assert_eq!(pairs.keys(&lasting.name, None, later).keys, ["one", "four", "five"]);
        check(&pairs);
    }

    #[test]
    fn bytes_are_bounded_and_a_value_that_never_fits_is_refused() {
        let (mut pairs, now) = (Pairs::new(10_000, 1000), Instant::now());
        let bucket = bucket("a", None);
        assert!(pairs.set(&bucket, "key", vec![0; 10_000], now).is_err());
        assert!(pairs.set(&bucket, &"k".repeat(2000), Vec::new(), now).is_err());
        for at in 0..100 {
            pairs.set(&bucket, &at.to_string(), vec![0; at * 10], now).unwrap();
            check(&pairs);
        }
        pairs.limit(2000, 2, now);
        check(&pairs);
        pairs.limit(0, 0, now);
        assert!(pairs.pairs.is_empty());
    }

    #[test]
    fn numbers_are_counted_for_a_fixed_time() {
        let (mut pairs, now) = (Pairs::new(1 << 20, 10), Instant::now());
        let bucket = bucket("a", Some(10));
        let after = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(pairs.increment(&bucket, "n", 5, now), Ok(5));
        assert_eq!(pairs.increment(&bucket, "n", 6, after(9)), Ok(11));
        assert_eq!(text(&mut pairs, &bucket, "n", after(9)).as_deref(), Some("11"));
        assert_eq!(pairs.increment(&bucket, "n", 1, after(10)), Ok(1));
        assert!(pairs.increment(&bucket, "n", u64::MAX, after(10)).is_err());
        pairs.set(&bucket, "n", b"many".into(), after(10)).unwrap();
        assert!(pairs.increment(&bucket, "n", 1, after(10)).is_err());
        check(&pairs);
    }

    #[test]
    fn keys_come_in_pages_each_once() {
        let (mut pairs, now) = (Pairs::new(8 << 20, 10_000), Instant::now());
        let (ours, theirs) = (bucket("ours", None), bucket("theirs", None));
        for at in 0..5000 {
            let bucket = if at % 8 == 0 { &ours } else { &theirs };
            pairs.set(bucket, &at.to_string(), Vec::new(), now).unwrap();
        }
        let (mut keys, mut cursor, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = pairs.keys(&ours.name, cursor, now);
            keys.extend(page.keys);
            pages += 1;
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        let expected: Vec<String> = (0..5000).step_by(8).map(|at: u32| at.to_string()).collect();
        assert_eq!(keys, expected);
        assert!(pages > 2, "{pages}");
    }

    /// As a map that forgets nothing, as long as there is room.
    #[test]
    fn random_operations_do_what_a_plain_map_does() {
        let (mut pairs, now) = (Pairs::new(1 << 20, 1000), Instant::now());
        let bucket = bucket("a", None);
        let mut expected: HashMap<String, Vec<u8>> = HashMap::new();
        let mut seed = 7_u64;
        for _ in 0..20_000 {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let random = seed >> 33;
            let key = (random % 50).to_string();
            match random % 4 {
                0 => {
                    let value = vec![b'x'; (random % 100) as usize];
                    pairs.set(&bucket, &key, value.clone(), now).unwrap();
                    expected.insert(key, value);
                }
                1 => {
                    pairs.delete(&bucket.name, &key);
                    expected.remove(&key);
                }
                _ => assert_eq!(
                    pairs.get(&bucket.name, &key, now),
                    expected.get(&key).map(Vec::as_slice)
                ),
            }
        }
        check(&pairs);
    }
}
