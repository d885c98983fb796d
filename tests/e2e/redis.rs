//! Services that keep what they share in a Redis: several servers as one, and a Redis that is gone, slow or refuses.
use crate::metrics;
use std::{
    thread,
    time::{Duration, Instant},
};
use support::{
    Certificate, Hosting, PATIENCE, Server, eventually, project,
    redis::{Redis, SlowLine},
};

/// Under this, no operation of a test takes too long, however busy the machine is.
const PATIENT: &str = "timeout = \"180s\"";

/// A site whose requests for `index.html` are limited: so many at all, within any test.
fn limited(limit: usize, more: &str, redis: &str) -> String {
    format!(
        "[defaults.redis]\n{redis}\n[[site]]\nname = \"a\"\nhosts = [\"*\"]\nroot = \"root\"\n[[site.policy]]\n\
         plugin = {:?}\ngrants = [\"counters\"]\nlimits = {{ wall = \"180s\" }}\n[site.policy.config]\n{more}\n\
         limits = [{{ name = \"all\", by = \"site\", requests = {limit}, per = \"100000h\" }}]\n",
        project().join("plugins/rate-limit")
    )
}

/// A site whose paths say what a service is to be asked.
fn asking(redis: &str) -> String {
    format!(
        "[defaults.redis]\n{redis}\n[[site]]\nname = \"a\"\nhosts = [\"*\"]\nroot = \"root\"\n[[site.policy]]\n\
         plugin = \"services\"\ngrants = [\"key-value\", \"counters\"]\nlimits = {{ wall = \"180s\" }}\n"
    )
}

fn hosting(sites: &str) -> Hosting {
    let hosting = Hosting::new().guest("services").file("root/index.html", "home");
    hosting.configure("admin = \"admin.sock\"", sites);
    hosting
}

/// A value of the metrics, whatever its Redis is called.
fn metric(hosting: &Hosting, name: &str, label: &str) -> u64 {
    let text = metrics::get(&hosting.at("admin.sock"), "/metrics");
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("{name}{{")) && line.contains(label));
    let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    value.unwrap_or_else(|| panic!("no {name} with {label}: {text}"))
}

/// Asks until the breaker is open.
fn breaks(hosting: &Hosting, server: &Server) {
    eventually("the breaker is open", || {
        assert_eq!(server.get("/index.html").status, 503);
        metric(hosting, "wasmserve_redis_breakers_open", "redis=") > 0
    });
}

#[test]
fn three_servers_admit_exactly_the_limit() {
    const LIMIT: usize = 100;
    let redis = Redis::start([""; 0]);
    let sites = limited(LIMIT, "", &format!("url = {:?}\n{PATIENT}", redis.url()));
    // The same configuration, a folder each for what is a machine's own.
    let hostings: Vec<Hosting> = (0..3).map(|_| hosting(&sites)).collect();
    let servers: Vec<Server> = hostings.iter().map(Hosting::start).collect();
    let count = |client: usize| {
        let mut connection = servers[client % 3].connect();
        let statuses: Vec<u16> = (0..5)
            .map(|_| connection.request("GET", "/index.html", &[]).status)
            .collect();
        assert!(
            statuses.iter().all(|status| [200, 429].contains(status)),
            "{statuses:?}"
        );
        statuses.into_iter().filter(|status| *status == 200).count()
    };
    let admitted: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..64).map(|client| scope.spawn(move || count(client))).collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("a client that ends"))
            .sum()
    });
    assert_eq!(admitted, LIMIT);
    let done: u64 = hostings
        .iter()
        .map(|hosting| metric(hosting, "wasmserve_redis_operations_total", "result=\"done\""))
        .sum();
    assert_eq!(done, 64 * 5);
    // A fourth server knows what the others admitted before it was there.
    let fourth = hosting(&sites);
    assert_eq!(fourth.start().get("/index.html").status, 429);
}

#[test]
fn explaining_takes_nothing_from_those_who_serve() {
    let redis = Redis::start([""; 0]);
    let hosting = hosting(&limited(1, "", &format!("url = {:?}\n{PATIENT}", redis.url())));
    for _ in 0..3 {
        let explained = support::Launch::bare()
            .arguments(["explain", "--config"])
            .arguments([hosting.at("wasmserve.toml")])
            .arguments(["http://a.example/index.html"])
            .run_to_end();
        assert!(explained.log.contains("granted, 0 left"), "{}", explained.log);
    }
    let server = hosting.start();
    assert_eq!(server.get("/index.html").status, 200);
    assert_eq!(server.get("/index.html").status, 429);
}

#[test]
fn pairs_of_one_server_are_those_of_another() {
    let redis = Redis::start([""; 0]);
    let sites = asking(&format!("url = {:?}\n{PATIENT}", redis.url()));
    let hostings = [hosting(&sites), hosting(&sites)];
    let [one, other] = [hostings[0].start(), hostings[1].start()];
    for (server, path, expected) in [
        (&one, "/default/set/a/one", "()"),
        (&other, "/default/get/a", "Some(\"one\")"),
        (&other, "/default/increment/n/5", "5"),
        (&one, "/default/increment/n/7", "12"),
        (&one, "/default/keys", "a n"),
        (&other, "/default/delete/a", "()"),
        (&one, "/default/exists/a", "false"),
        (
            &one,
            "/default/increment/n/18446744073709551604",
            "Error::Other(\"the sum is larger than 64 bits hold\")",
        ),
        (
            &one,
            "/default/fill/1/300000",
            "Error::Other(\"the value is longer than 262144 bytes\")",
        ),
    ] {
        let response = server.get(path);
        assert_eq!((response.status, response.text()), (200, expected), "{path}");
    }
}

/// Killed with SIGKILL while 32 clients ask, and started again: nobody hangs, nobody is admitted unseen, and it heals.
#[test]
fn without_redis_requests_are_refused_or_admitted_as_the_plugin_says() {
    let mut redis = Redis::start([""; 0]);
    let url = format!("url = {:?}", redis.url());
    let refusing = hosting(&limited(1_000_000, "", &url));
    let allowing = hosting(&limited(1_000_000, "unavailable = \"allow\"", &url));
    let (refuses, allows) = (refusing.start(), allowing.start());
    let answers_again = |server: &Server| eventually("it is well", || server.get("/index.html").status == 200);
    answers_again(&refuses);
    for _ in 0..2 {
        thread::scope(|scope| {
            for _ in 0..32 {
                scope.spawn(|| {
                    let mut connection = refuses.connect();
                    let start = Instant::now();
                    loop {
                        let response = connection.request("GET", "/index.html", &[]);
                        match response.status {
                            200 => assert!(start.elapsed() < PATIENCE, "nothing is noticed"),
                            503 => break assert_eq!(response.header("retry-after"), Some("1")),
                            other => panic!("{other}: {response:?}"),
                        }
                    }
                });
            }
            redis.kill();
        });
        breaks(&refusing, &refuses);
        assert_eq!(refuses.get("/index.html").status, 503);
        assert_eq!(allows.get("/index.html").status, 200);
        redis.start_again();
        answers_again(&refuses);
    }
    assert!(metric(&refusing, "wasmserve_redis_operations_total", "result=\"refused\"") > 0);
    refuses.logged("Redis cannot be used");
    refuses.logged("Redis can be used again");
    // One line for all that failed, once in a while.
    let lines = refuses.log().matches("Redis cannot be used").count();
    let attempts = metric(&refusing, "wasmserve_redis_operations_total", "result=\"refused\"")
        + metric(&refusing, "wasmserve_redis_operations_total", "result=\"failed\"");
    assert!((lines as u64) < attempts, "{lines} lines for {attempts} operations");
}

#[test]
fn a_slow_redis_is_given_up_until_it_answers_in_time() {
    let redis = Redis::start([""; 0]);
    let line = SlowLine::to(redis.socket());
    let hosting = hosting(&limited(
        1_000_000,
        "",
        &format!("url = {:?}\ntimeout = \"2s\"", line.url()),
    ));
    let server = hosting.start();
    eventually("it is well", || server.get("/index.html").status == 200);
    // Nobody would wait as long as an answer takes.
    line.delay(PATIENCE * 2);
    eventually("it is refused", || server.get("/index.html").status == 503);
    breaks(&hosting, &server);
    server.logged("it did not answer within 2s");
    let failed = |hosting| metric(hosting, "wasmserve_redis_operations_total", "result=\"failed\"");
    let before = failed(&hosting);
    for _ in 0..100 {
        assert_eq!(server.get("/index.html").status, 503);
    }
    assert_eq!(
        failed(&hosting),
        before,
        "requests waited for a Redis that was given up"
    );
    line.delay(Duration::ZERO);
    eventually("it is well", || server.get("/index.html").status == 200);
}

#[test]
fn a_wrong_password_is_said_and_no_password_is_told_or_served() {
    let redis = Redis::start(["--requirepass", "correct-horse"]);
    let settings = format!("url = {:?}\npassword-file = \"root/password\"", redis.url());
    let hosting = hosting(&limited(1_000_000, "", &settings)).file("root/password", "battery-staple\n");
    let check = || {
        let checked = support::Launch::bare()
            .arguments(["check", "--config"])
            .arguments([hosting.at("wasmserve.toml")])
            .run_to_end();
        assert!(checked.status.success(), "{}", checked.log);
        checked.log
    };
    let told = check();
    assert!(told.contains("cannot be used: it refuses user or password"), "{told}");
    let server = hosting.start();
    assert_eq!(server.get("/index.html").status, 503);
    server.logged("it refuses user or password");
    hosting.write("root/password", "correct-horse\n");
    server.reload(2);
    eventually("it is well", || server.get("/index.html").status == 200);
    assert_eq!(server.get("/password").status, 404);
    let told = check();
    assert!(told.contains("can be used: Redis "), "{told}");
    let printed = support::Launch::bare()
        .arguments(["check", "--print-config", "--config"])
        .arguments([hosting.at("wasmserve.toml")])
        .run_to_end();
    assert!(printed.log.contains("password-file"), "{}", printed.log);
    for text in [server.log(), told, printed.log] {
        assert!(!text.contains("horse") && !text.contains("staple"), "{text}");
    }
}

#[test]
fn a_redis_behind_tls_shows_its_certificate() {
    let certificate = Certificate::new();
    certificate.openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout redis.key -out redis.csr");
    certificate.openssl("x509 -req -in redis.csr -CA cert.pem -CAkey key.pem -CAcreateserial -days 2 -copy_extensions copy -out redis.pem");
    let at = |name: &str| certificate.at(name).display().to_string();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("loopback has free ports")
        .port();
    let _redis = Redis::start([
        "--tls-port".to_owned(),
        port.to_string(),
        "--tls-auth-clients".to_owned(),
        "no".to_owned(),
        "--tls-cert-file".to_owned(),
        at("redis.pem"),
        "--tls-key-file".to_owned(),
        at("redis.key"),
        "--tls-ca-cert-file".to_owned(),
        at("cert.pem"),
    ]);
    let url = format!("url = \"rediss://localhost:{port}\"\n{PATIENT}");
    for (authority, expected) in [(at("cert.pem"), Ok(())), (String::new(), Err(()))] {
        let authority = match authority.is_empty() {
            true => String::new(),
            false => format!("ca = {authority:?}"),
        };
        let hosting = hosting(&limited(1, "", &format!("{url}\n{authority}")));
        let server = hosting.start();
        let statuses = (server.get("/index.html").status, server.get("/index.html").status);
        match expected {
            Ok(()) => assert_eq!(statuses, (200, 429)),
            Err(()) => {
                assert_eq!(statuses, (503, 503));
                server.logged("invalid peer certificate");
            }
        }
    }
}
