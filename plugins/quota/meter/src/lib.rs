//! Adds up the bytes that each tenant was sent. ../README.md is the reference.
//!
//! The order of events: an exchange ends; who the tenant was, and in which period it arrived, gives the key; all exchanges
//! of a batch under one key are added to the bucket at once. What was refused or not found is nobody's: else whoever asks
//! for names that nobody has would fill the bucket.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use wasmserve_plugin::{
    Config, Mistakes, export_observer,
    key_value::Bucket,
    observer::{Exchange, Observer},
};
use wasmserve_quota_usage::{BUCKET, By, Period, first_segment};

struct Meter {
    by: By,
    per: Period,
    bucket: String,
}

export_observer!(Meter);

impl Observer for Meter {
    fn configure(config: &Config) -> Result<Self, String> {
        config.only(&["bucket", "by", "per"])?;
        let (by, per) = (config.required("by")?, config.required("per")?);
        let mut mistakes = Mistakes::default();
        let (by, per) = (
            mistakes.take("by", &by, by.parse()),
            mistakes.take("per", &per, per.parse()),
        );
        mistakes.check()?;
        Ok(Self {
            by: by.ok_or("`by` is missing")?,
            per: per.ok_or("`per` is missing")?,
            bucket: config.get("bucket")?.unwrap_or_else(|| BUCKET.to_owned()),
        })
    }

    fn observe(&self, batch: &[Exchange]) -> Result<(), String> {
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for exchange in batch.iter().filter(|exchange| (200..400).contains(&exchange.status)) {
            let key = self.per.key(exchange.arrived / 1000, self.tenant(exchange));
            let sum = sums.entry(key).or_default();
            *sum = sum.saturating_add(exchange.body_bytes);
        }
        let bucket = Bucket::open(&self.bucket)?;
        for (key, sum) in sums.into_iter().filter(|(_, sum)| *sum > 0) {
            bucket.increment(&key, sum)?;
        }
        Ok(())
    }
}

impl Meter {
    fn tenant<'a>(&self, exchange: &'a Exchange) -> &'a str {
        match &self.by {
            By::Site => "",
            By::Host => &exchange.host,
            By::Path => first_segment(&exchange.path),
            By::Fact(name) => {
                let fact = exchange.facts.iter().find(|(known, _)| known == name);
                fact.map_or("", |(_, value)| value)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmserve_plugin::testing::{configure_observer, exchange};

    /// 2026-11-20T12:34:56Z in milliseconds.
    const NOW: u64 = 1_795_178_096_000;

    fn used(key: &str) -> Option<String> {
        let value = Bucket::open("usage")
            .and_then(|bucket| bucket.get(key))
            .expect("a bucket");
        value.map(|value| String::from_utf8(value).expect("digits"))
    }

    #[test]
    fn bytes_are_added_up_for_each_tenant() {
        let meter: Meter = configure_observer([("by", "fact:tenant"), ("per", "month")]).unwrap();
        let sent = |tenant: Option<&str>, status, body_bytes| Exchange {
            arrived: NOW,
            status,
            body_bytes,
            facts: tenant
                .map(|tenant| ("tenant".to_owned(), tenant.to_owned()))
                .into_iter()
                .collect(),
            ..exchange()
        };
        let batch = [
            sent(Some("alice"), 200, 100),
            sent(Some("alice"), 206, 20),
            sent(Some("alice"), 404, 1000),
            sent(Some("alice"), 0, 1000),
            sent(Some("bob"), 200, 7),
            sent(Some("carol"), 304, 0),
            sent(None, 200, 3),
        ];
        meter.observe(&batch).unwrap();
        meter.observe(&batch[..1]).unwrap();
        assert_eq!(used("2026-11 alice").as_deref(), Some("220"));
        assert_eq!(used("2026-11 bob").as_deref(), Some("7"));
        assert_eq!(used("2026-11 carol"), None, "nothing to remember");
        assert_eq!(used("2026-11 ").as_deref(), Some("3"));
    }

    #[test]
    fn tenants_are_told_by_host_or_path() {
        for (by, key) in [
            ("host", "2026-11-20 example.com"),
            ("path", "2026-11-20 a"),
            ("site", "2026-11-20 "),
        ] {
            let meter: Meter = configure_observer([("by", by), ("per", "day")]).unwrap();
            let exchange = Exchange {
                arrived: NOW,
                status: 200,
                body_bytes: 5,
                host: "example.com".into(),
                path: "/a/b".into(),
                ..exchange()
            };
            meter.observe(&[exchange]).unwrap();
            assert_eq!(used(key).as_deref(), Some("5"), "{by}");
        }
    }

    #[test]
    fn mistakes_in_the_configuration() {
        for (configuration, key) in [
            (vec![("by", "host")], "per"),
            (vec![("by", "client"), ("per", "day")], "by"),
            (vec![("by", "host"), ("per", "week")], "per"),
            (vec![("by", "host"), ("per", "day"), ("bytes", "1")], "bytes"),
        ] {
            let error = configure_observer::<Meter>(configuration.iter().copied()).err();
            assert!(
                error.as_ref().is_some_and(|error| error.contains(&format!("`{key}`"))),
                "{error:?}"
            );
        }
    }
}
