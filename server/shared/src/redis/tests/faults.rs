//! A Redis that is gone, that hangs, that refuses: what an operation comes to, and that it heals.
use super::{super::Password, *};
use crate::{Backend, Bucket, BucketName};
use std::sync::atomic::Ordering::Relaxed;
use tokio::net::{TcpListener, UnixListener};

fn bucket() -> Bucket {
    Bucket {
        name: BucketName::Own("policy".into()),
        time_to_live: None,
    }
}

/// Asks until it is answered.
async fn heals(site: &RedisSite) {
    let start = Instant::now();
    while site.set(&bucket(), "k", vec![1]).await.is_err() {
        assert!(start.elapsed() < PATIENCE, "it does not heal");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Asks until the breaker is open, and gives what the guest is told then.
async fn breaks(site: &RedisSite, redis: &Redis) -> String {
    let start = Instant::now();
    loop {
        let told = site.get(&bucket(), "k").await;
        if redis.counts().refused > 0 {
            return told.unwrap_err().0;
        }
        assert!(start.elapsed() < PATIENCE, "its breaker does not open");
    }
}

#[tokio::test]
async fn a_redis_that_is_killed_and_started_again() {
    let mut server = Server::start(&[]);
    let redis = Redis::new(Arc::new(server.options()));
    let site = RedisSite::new(redis.clone(), "a".into(), &BOUNDS);
    heals(&site).await;
    for _ in 0..3 {
        server.kill();
        let told = breaks(&site, &redis).await;
        assert_eq!(told, "the shared store cannot be used at the moment");
        assert!(redis.counts().broken > 0);
        server.start_again();
        heals(&site).await;
        // What it kept, it kept in memory.
        assert!(site.take("p", "k", 1, 0.0).await.unwrap().granted);
        assert!(!site.take("p", "k", 1, 0.0).await.unwrap().granted);
        redis.lines[0].notes().refused.store(0, Relaxed);
    }
}

#[tokio::test]
async fn a_redis_that_hangs_is_not_waited_for() {
    let server = Server::start(&[]);
    let mut options = server.options();
    options.timeout = Duration::from_millis(200);
    let redis = Redis::new(Arc::new(options));
    let site = RedisSite::new(redis.clone(), "a".into(), &BOUNDS);
    heals(&site).await;
    server.signal("-STOP");
    breaks(&site, &redis).await;
    // Open: until Redis answers a probe, no operation so much as waits.
    let failed = redis.counts().failed;
    for _ in 0..1000 {
        site.get(&bucket(), "k").await.unwrap_err();
    }
    assert_eq!(redis.counts().failed, failed);
    server.signal("-CONT");
    heals(&site).await;
}

#[tokio::test]
async fn an_idle_connection_that_ends_is_opened_anew_unnoticed() {
    let server = Server::start(&[]);
    let site = server.site("a", &BOUNDS);
    heals(&site).await;
    let endpoint = format!("unix:{}", server.socket().display());
    let client = ::redis::Client::open(endpoint).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let others = |kill: &str| ::redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg(kill).to_owned();
    let killed: usize = others("normal").query_async(&mut connection).await.unwrap();
    assert_eq!(killed, 1);
    // While it is being opened anew operations are refused; nobody has to ask for that to happen.
    let start = Instant::now();
    while site.redis().counts().broken > 0 || site.get(&bucket(), "k").await.is_err() {
        assert!(start.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_wrong_password_is_said_and_not_told() {
    let server = Server::start(&["--requirepass", "right"]);
    let password = |text: &str| Password::new(text, super::super::PasswordFrom::Environment("X".into())).ok();
    let probe = |password| {
        Redis::probe(Arc::new(RedisOptions {
            password,
            ..server.options()
        }))
    };
    for given in [None, password("wrong")] {
        let problem = probe(given).await.unwrap_err();
        assert!(problem.contains("it refuses user or password"), "{problem}");
        assert!(!problem.contains("wrong"), "{problem}");
    }
    let found = probe(password("right")).await.unwrap();
    assert!(found.starts_with("Redis "), "{found}");
    let mut user = server.options();
    user.password = password("right");
    user.endpoint.user = Some("default".into());
    Redis::probe(Arc::new(user)).await.unwrap();
}

#[tokio::test]
async fn what_a_redis_refuses_says_what_to_do() {
    for (arguments, expected) in [
        (
            &["--replicaof", "127.0.0.1 1"][..],
            "it is a replica, and takes no writes",
        ),
        (&["--cluster-enabled", "yes"], "it has lost others that it needs"),
        (&["--maxmemory", "1"], "it has no memory left"),
    ] {
        let server = Server::start(arguments);
        let problem = Redis::probe(Arc::new(server.options())).await.unwrap_err();
        assert!(problem.contains(expected), "{arguments:?}: {problem}");
        let told = server.site("a", &BOUNDS).take("p", "k", 1, 0.0).await.unwrap_err();
        assert_eq!(told.0, "the shared store cannot be used at the moment");
    }
}

/// Another program's keys of the same names are that site's trouble alone.
#[tokio::test]
async fn keys_of_another_kind_break_one_site_only() {
    let server = Server::start(&[]);
    let redis = Redis::new(Arc::new(server.options()));
    let site = |name: &str| RedisSite::new(redis.clone(), name.into(), &BOUNDS);
    let client = ::redis::Client::open(format!("unix:{}", server.socket().display())).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut set = ::redis::cmd("SET");
    set.arg("wasmserve:{a}:tokens").arg("text");
    set.query_async::<()>(&mut connection).await.unwrap();
    for _ in 0..10 {
        site("a").take("p", "k", 1, 0.0).await.unwrap_err();
    }
    assert!(site("b").take("p", "k", 1, 0.0).await.unwrap().granted);
    assert_eq!((redis.counts().failed, redis.counts().broken), (10, 0));
}

#[tokio::test]
async fn what_is_no_redis_is_no_redis() {
    let folder = tempfile::tempdir().unwrap();
    let silent = folder.path().join("silent.sock");
    let _listener = UnixListener::bind(&silent).unwrap();
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = other.accept().await {
            let _ = stream.writable().await;
            let _ = stream.try_write(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    for endpoint in [
        format!("unix:{}", silent.display()),
        format!("unix:{}/absent", folder.path().display()),
        format!("redis://{address}"),
        format!("rediss://localhost:{}", address.port()),
    ] {
        let mut options = RedisOptions::new(endpoint.parse().unwrap());
        options.timeout = Duration::from_millis(300);
        let options = Arc::new(options);
        Redis::probe(options.clone()).await.unwrap_err();
        let site = RedisSite::new(Redis::new(options), "a".into(), &BOUNDS);
        for _ in 0..5 {
            site.get(&bucket(), "k").await.unwrap_err();
        }
    }
}
