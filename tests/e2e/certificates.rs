//! Certificates by site: which of them a client is shown, what is asked of clients, and how they are replaced.
use std::{fs, path::Path};
use support::{Certificate, Hosting, Server, eventually, tool};

/// Certificates of names, each signed by itself, an authority for clients and a client's certificate of it.
fn certificates(names: &[&str]) -> Certificate {
    let folder = Certificate::new();
    for name in names {
        sign(&folder, name);
    }
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    folder.openssl(&format!(
        "req -x509 {key} -days 2 -subj /CN=Clients -keyout ca.key -out ca.pem"
    ));
    folder.openssl(&format!(
        "req -new {key} -subj /O=Team/CN=ada -keyout ada.key -out ada.csr"
    ));
    fs::write(
        folder.at("client.ext"),
        "basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n",
    )
    .expect("the folder is writable");
    folder.openssl(
        "x509 -req -in ada.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile client.ext -out ada.pem",
    );
    folder
}

/// Makes `NAME.pem` and `NAME.key`; `_` stands for `*`.
fn sign(folder: &Certificate, name: &str) {
    let host = name.replace('_', "*");
    folder.openssl(&format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} -addext subjectAltName=DNS:{host} \
         -keyout {name}.key -out {name}.pem"
    ));
}

fn site(name: &str, hosts: &str, tls: &str) -> String {
    format!(
        "[[site]]\nname = \"{name}\"\nhosts = [{hosts}]\nroot = \"{name}\"\n{tls}\n[[site.policy]]\nplugin = \"probe\"\n\
         [site.policy.config]\nask = \"site\\nfact tls.server-name\\nfact tls.client-subject\"\nrespond = \"echo\"\n"
    )
}

fn own(folder: &Certificate, name: &str) -> String {
    let (cert, key) = (folder.at(&format!("{name}.pem")), folder.at(&format!("{name}.key")));
    format!(
        "[site.tls]\ncert = \"{}\"\nkey = \"{}\"\n",
        cert.display(),
        key.display()
    )
}

fn default(folder: &Certificate) -> String {
    let (cert, key) = (folder.at("cert.pem"), folder.at("key.pem"));
    format!("tls-cert = \"{}\"\ntls-key = \"{}\"\n", cert.display(), key.display())
}

fn hosting(server: &str, sites: &[String]) -> Hosting {
    let hosting = Hosting::new().guest("probe");
    for name in ["a", "b", "wild", "rest"] {
        hosting.write(&format!("{name}/file.txt"), "content");
    }
    hosting.configure(server, &sites.concat());
    hosting
}

/// curl asks for a host, trusting one certificate alone.
fn curl(server: &Server, folder: &Certificate, trusted: &str, host: &str, more: &[&str]) -> tool::Ran {
    let port = server.address().port();
    let trusted = folder.at(trusted).to_string_lossy().into_owned();
    let resolve = format!("{host}:{port}:127.0.0.1");
    let url = format!("https://{host}:{port}/");
    let always = ["-sS", "--cacert", &trusted, "--resolve", &resolve];
    tool::run(
        Path::new("/"),
        "curl",
        always.iter().chain(more).copied().chain([url.as_str()]),
    )
}

#[track_caller]
fn told(ran: tool::Ran) -> String {
    String::from_utf8_lossy(&ran.success().stdout).into_owned()
}

#[test]
fn each_name_is_shown_its_own_certificate() {
    let folder = certificates(&["a.example", "_.wild.example"]);
    let sites = [
        site("a", "\"a.example\"", &own(&folder, "a.example")),
        site("wild", "\"*.wild.example\"", &own(&folder, "_.wild.example")),
        site("rest", "\"*\"", ""),
    ];
    let hosting = hosting(&default(&folder), &sites);
    let server = hosting.start();
    for version in ["--http1.1", "--http2"] {
        for (trusted, host, expected) in [
            ("a.example.pem", "a.example", "a\nsome(a.example)\nnone\n"),
            (
                "_.wild.example.pem",
                "x.wild.example",
                "wild\nsome(x.wild.example)\nnone\n",
            ),
            ("cert.pem", "localhost", "rest\nsome(localhost)\nnone\n"),
        ] {
            assert_eq!(
                told(curl(&server, &folder, trusted, host, &[version])),
                expected,
                "{host}"
            );
        }
        let wrong = curl(&server, &folder, "cert.pem", "a.example", &[version]);
        assert_eq!(wrong.code, Some(60), "not the default's certificate");
        // What one handshake was for is not asked of another site.
        for (trusted, host, other, expected) in [
            ("a.example.pem", "a.example", "x.wild.example", "421"),
            ("a.example.pem", "a.example", "localhost", "421"),
            ("cert.pem", "localhost", "a.example", "421"),
            ("_.wild.example.pem", "x.wild.example", "y.wild.example", "200"),
            ("cert.pem", "localhost", "other.example", "200"),
        ] {
            let host_field = format!("Host: {other}");
            let status = ["-H", &host_field, "-o", "/dev/null", "-w", "%{http_code}"];
            let ran = curl(&server, &folder, trusted, host, &[&[version][..], &status].concat());
            assert_eq!(told(ran), expected, "{host} for {other}");
        }
    }
}

#[test]
fn without_a_certificate_of_the_server_unknown_names_are_refused_in_the_handshake() {
    let folder = certificates(&["a.example"]);
    let sites = [
        site("a", "\"a.example\"", &own(&folder, "a.example")),
        site("b", "\"b.example\"", ""),
    ];
    let server = hosting("", &sites).start();
    assert_eq!(
        told(curl(&server, &folder, "a.example.pem", "a.example", &[])),
        "a\nsome(a.example)\nnone\n"
    );
    for host in ["b.example", "nobody.example"] {
        assert_eq!(
            curl(&server, &folder, "a.example.pem", host, &["-k"]).code,
            Some(35),
            "{host}"
        );
    }
}

#[test]
fn clients_show_who_they_are_where_they_have_to() {
    let folder = certificates(&["a.example", "b.example"]);
    let authority = format!("client-ca = \"{}\"\n", folder.at("ca.pem").display());
    let sites = [
        site("a", "\"a.example\"", &(own(&folder, "a.example") + &authority)),
        site(
            "b",
            "\"b.example\"",
            &format!(
                "{}{authority}client-certificates = \"optional\"\n",
                own(&folder, "b.example")
            ),
        ),
        site("rest", "\"*\"", ""),
    ];
    let server = hosting(&default(&folder), &sites).start();
    let path = |name: &str| folder.at(name).to_string_lossy().into_owned();
    let (certificate, key) = (path("ada.pem"), path("ada.key"));
    let ada = ["--cert", &*certificate, "--key", &*key];
    let ada_says = "CN=ada,O=Team";
    for version in ["--tlsv1.3", "--tls-max"] {
        let version: &[&str] = if version == "--tls-max" {
            &["--tls-max", "1.2"]
        } else {
            &["--tlsv1.3"]
        };
        let with = [version, &ada[..]].concat();
        let expected = format!("a\nsome(a.example)\nsome({ada_says})\n");
        assert_eq!(
            told(curl(&server, &folder, "a.example.pem", "a.example", &with)),
            expected
        );
        assert_ne!(
            curl(&server, &folder, "a.example.pem", "a.example", version).code,
            Some(0),
            "nobody is no client"
        );
        let expected = format!("b\nsome(b.example)\nsome({ada_says})\n");
        assert_eq!(
            told(curl(&server, &folder, "b.example.pem", "b.example", &with)),
            expected
        );
        assert_eq!(
            told(curl(&server, &folder, "b.example.pem", "b.example", version)),
            "b\nsome(b.example)\nnone\n"
        );
        // One that signed itself is nobody's.
        let (certificate, key) = (path("b.example.pem"), path("b.example.key"));
        let stranger = [version, &["--cert", &certificate, "--key", &key]].concat();
        for host in ["a.example", "b.example"] {
            let ran = curl(&server, &folder, &format!("{host}.pem"), host, &stranger);
            assert_ne!(ran.code, Some(0), "{host}");
        }
    }
    // A connection that demanded nothing leads to no site that does.
    for (trusted, host) in [("cert.pem", "localhost"), ("b.example.pem", "b.example")] {
        let around = ["-H", "Host: a.example", "-o", "/dev/null", "-w", "%{http_code}"];
        assert_eq!(told(curl(&server, &folder, trusted, host, &around)), "421", "{host}");
    }
    let ran = curl(
        &server,
        &folder,
        "b.example.pem",
        "b.example",
        &[&ada[..], &["-D", "-"]].concat(),
    );
    assert!(
        told(ran).to_ascii_lowercase().contains("cache-control: private"),
        "who asks is known to no cache"
    );
}

#[test]
fn certificates_are_replaced_while_connections_go_on() {
    let folder = certificates(&["a.example"]);
    let sites = [site("a", "\"a.example\"", &own(&folder, "a.example"))];
    let hosting = hosting("", &sites);
    let server = hosting.launch().arguments(["--watch"]).start();
    let ask = || curl(&server, &folder, "a.example.pem", "a.example", &[]);
    told(ask());
    let replace = |name: &str, content: &[u8]| {
        let aside = folder.at("aside");
        fs::write(&aside, content).expect("the folder is writable");
        fs::rename(&aside, folder.at(name)).expect("the folder is writable");
    };
    let old = fs::read(folder.at("a.example.pem")).expect("it is there");
    fs::write(folder.at("old.pem"), &old).expect("the folder is writable");
    let with_old = || curl(&server, &folder, "old.pem", "a.example", &[]);
    // A bad one changes nothing, and is told.
    replace("a.example.pem", b"no certificate");
    server.logged("not reloaded");
    assert!(server.log().contains("has no certificate") && server.log().contains("a.example.pem"));
    told(with_old());
    // Another takes its place without anybody asking.
    sign(&folder, "new.example");
    folder.openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=a.example -addext \
         subjectAltName=DNS:a.example -keyout next.key -out next.pem",
    );
    let read = |name: &str| fs::read(folder.at(name)).expect("it is there");
    replace("a.example.key", &read("next.key"));
    replace("a.example.pem", &read("next.pem"));
    eventually("the new certificate is shown", || ask().code == Some(0));
    assert_eq!(with_old().code, Some(60));
}

#[test]
fn what_is_wrong_with_certificates_is_told() {
    let folder = certificates(&["a.example"]);
    for (server, tls, expected) in [
        ("", "[site.tls]\ncert = \"x.pem\"\n", "`cert` and `key` go together"),
        ("", "[site.tls]\nclient-ca = \"x.pem\"\n", "[tls] has no certificate"),
        ("", "[site.tls]\n", "[tls] has no certificate"),
        ("tls-client-ca = \"x.pem\"\n", "", "`tls-client-ca` needs `tls-cert`"),
        (
            "",
            &(own(&folder, "a.example") + "client-certificates = \"optional\"\n"),
            "needs `client-ca`",
        ),
        (
            "",
            &(own(&folder, "a.example") + "client-ca = \"/absent.pem\"\n"),
            "cannot read /absent.pem",
        ),
        ("", &own(&folder, "absent"), "cannot read"),
    ] {
        let refusal = hosting(server, &[site("a", "\"a.example\"", tls)]).launch().refusal();
        assert!(refusal.contains(expected), "{server}{tls}: {refusal}");
    }
}

/// What was agreed on is in the access log, of those who showed a certificate with whom that is.
#[test]
fn the_access_log_tells_what_was_agreed_on() {
    let folder = certificates(&["a.example"]);
    let (cert, key, ca) = (
        folder.at("a.example.pem"),
        folder.at("a.example.key"),
        folder.at("ca.pem"),
    );
    let tls = format!(
        "[site.tls]\ncert = \"{}\"\nkey = \"{}\"\nclient-ca = \"{}\"\nclient-certificates = \"optional\"\n",
        cert.display(),
        key.display(),
        ca.display()
    );
    let server = default(&folder) + "access-log = \"access.log\"\n";
    let hosting = hosting(&server, &[site("a", "\"a.example\"", &tls)]);
    let server = hosting.start();
    let (own_cert, own_key) = (folder.at("ada.pem"), folder.at("ada.key"));
    let shown = [
        "--cert",
        own_cert.to_str().expect("a plain name"),
        "--key",
        own_key.to_str().expect("a plain name"),
    ];
    for (number, more) in [&["--tlsv1.3"][..], &["--tls-max", "1.2"], &shown]
        .into_iter()
        .enumerate()
    {
        told(curl(&server, &folder, "a.example.pem", "a.example", more));
        let written = || fs::read_to_string(hosting.at("access.log")).unwrap_or_default();
        eventually("the line is written", || written().lines().count() > number);
    }
    let lines = fs::read_to_string(hosting.at("access.log")).expect("it is there");
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let versions: Vec<_> = lines.iter().map(|line| line["tls"]["version"].as_str()).collect();
    assert_eq!(versions, [Some("TLSv1.3"), Some("TLSv1.2"), Some("TLSv1.3")]);
    assert!(
        lines.iter().all(|line| line["tls"]["server_name"] == "a.example"),
        "{lines:?}"
    );
    assert!(lines[0]["tls"].get("client_subject").is_none(), "{}", lines[0]);
    let subject = lines[2]["tls"]["client_subject"].as_str().unwrap_or_default();
    assert!(subject.contains("CN=ada") && subject.contains("O=Team"), "{}", lines[2]);
}
