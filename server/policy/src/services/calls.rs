//! The imports, as a guest calls them: `counters`, `wasi:keyvalue/store` and `wasi:keyvalue/atomics`.
use super::Services;
use crate::{
    bindings::{
        wasi::keyvalue::{atomics, store},
        wasmserve::policy::counters,
    },
    call::Call,
};
use std::sync::Arc;
use wasmserve_shared::{Bucket, BucketName, Unavailable};
use wasmtime::{Result, component::Resource, format_err};

/// What errors, `explain` and the reason for not keeping a decision call them.
const KEY_VALUE: &str = "key-value";
const COUNTERS: &str = "counters";

/// The bucket that every policy with the grant has for itself.
const OWN: &str = "default";

impl Call {
    /// What the guest finds when it calls a service.
    fn services(&mut self, what: &'static str) -> Result<Arc<Services>> {
        self.recorder.count()?;
        match &self.services {
            Some(services) => Ok(services.clone()),
            None => Err(format_err!("there is no {what} while a plugin is configured")),
        }
    }

    fn bucket(&mut self, handle: &Resource<Bucket>) -> Result<Bucket> {
        Ok(self.table().get(handle)?.clone())
    }

    /// Takes note of what was asked and, in few words, of what was answered. Values are as secret as cookies.
    fn served<T>(&mut self, asked: String, answer: &Result<T, Unavailable>, show: impl FnOnce(&T) -> String) {
        self.recorder.served(KEY_VALUE, || {
            let answer = match answer {
                Ok(answer) => show(answer),
                Err(error) => format!("error: {error}"),
            };
            (asked, answer)
        });
    }
}

impl From<Unavailable> for store::Error {
    fn from(Unavailable(reason): Unavailable) -> Self {
        Self::Other(reason)
    }
}

impl counters::Host for Call {
    async fn take(&mut self, key: String, capacity: u64, refill: f64) -> Result<Result<counters::Taken, String>> {
        let services = self.services(COUNTERS)?;
        if capacity == 0 || !refill.is_finite() || refill < 0.0 {
            return Err(format_err!(
                "a token bucket cannot hold {capacity} tokens and gain {refill} a second"
            ));
        }
        let taken = services.backend().take(&services.policy, &key, capacity, refill).await;
        self.recorder.served(COUNTERS, || {
            let answer = match &taken {
                Ok(taken) if taken.granted => format!("granted, {} left", taken.remaining),
                Ok(taken) => format!("refused, again in {} ms", taken.retry_after),
                Err(error) => format!("error: {error}"),
            };
            (format!("take({key:?}, {capacity}, {refill})"), answer)
        });
        Ok(taken
            .map(|taken| counters::Taken {
                granted: taken.granted,
                remaining: taken.remaining,
                retry_after: taken.retry_after,
                full_after: taken.full_after,
            })
            .map_err(|Unavailable(reason)| reason))
    }
}

impl store::Host for Call {
    async fn open(&mut self, identifier: String) -> Result<Result<Resource<Bucket>, store::Error>> {
        let services = self.services(KEY_VALUE)?;
        let Some(grant) = &services.key_value else {
            return Ok(Err(store::Error::AccessDenied));
        };
        let name = match identifier.as_str() {
            OWN => BucketName::Own(services.policy.clone()),
            shared if grant.buckets.contains(shared) => BucketName::Shared(shared.into()),
            _ => return Ok(Err(store::Error::NoSuchStore)),
        };
        let time_to_live = grant.time_to_live;
        Ok(Ok(self.table().push(Bucket { name, time_to_live })?))
    }
}

impl store::HostBucket for Call {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> Result<Result<Option<Vec<u8>>, store::Error>> {
        let (services, bucket) = (self.services(KEY_VALUE)?, self.bucket(&bucket)?);
        let value = services.backend().get(&bucket, &key).await;
        self.served(format!("get({key:?})"), &value, |value| match value {
            Some(value) => format!("{} bytes", value.len()),
            None => "none".into(),
        });
        if let Ok(Some(value)) = &value {
            self.recorder.spend(value.len())?;
        }
        Ok(value.map_err(Into::into))
    }

    async fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> Result<Result<(), store::Error>> {
        let (services, bucket) = (self.services(KEY_VALUE)?, self.bucket(&bucket)?);
        let asked = format!("set({key:?}, {} bytes)", value.len());
        let done = services.backend().set(&bucket, &key, value).await;
        self.served(asked, &done, |()| "done".into());
        Ok(done.map_err(Into::into))
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Result<Result<(), store::Error>> {
        let (services, bucket) = (self.services(KEY_VALUE)?, self.bucket(&bucket)?);
        let done = services.backend().delete(&bucket, &key).await;
        self.served(format!("delete({key:?})"), &done, |()| "done".into());
        Ok(done.map_err(Into::into))
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Result<Result<bool, store::Error>> {
        let (services, bucket) = (self.services(KEY_VALUE)?, self.bucket(&bucket)?);
        let exists = services.backend().exists(&bucket, &key).await;
        self.served(format!("exists({key:?})"), &exists, bool::to_string);
        Ok(exists.map_err(Into::into))
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<u64>,
    ) -> Result<Result<store::KeyResponse, store::Error>> {
        let (services, bucket) = (self.services(KEY_VALUE)?, self.bucket(&bucket)?);
        let page = services.backend().keys(&bucket, cursor).await;
        self.served("list-keys()".into(), &page, |page| format!("{} keys", page.keys.len()));
        if let Ok(page) = &page {
            self.recorder.spend(page.keys.iter().map(|key| key.len() + 8).sum())?;
        }
        Ok(page
            .map(|page| store::KeyResponse {
                keys: page.keys,
                cursor: page.cursor,
            })
            .map_err(Into::into))
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> Result<()> {
        self.table().delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for Call {
    async fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: u64,
    ) -> Result<Result<u64, store::Error>> {
        let (services, bucket) = (self.services(KEY_VALUE)?, self.bucket(&bucket)?);
        let sum = services.backend().increment(&bucket, &key, delta).await;
        self.served(format!("increment({key:?}, {delta})"), &sum, u64::to_string);
        Ok(sum.map_err(Into::into))
    }
}
