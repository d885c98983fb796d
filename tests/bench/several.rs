//! `cargo xtask cluster`: three servers as one, behind a balancer, with a Redis and an S3, until Ctrl-C.
#![forbid(unsafe_code)]

use std::{process::ExitCode, thread, time::Duration};
use support::{cluster::Cluster, project};

/// The balancer's port, unless the first argument is another one.
const PORT: u16 = 8080;

fn main() -> ExitCode {
    let port = match std::env::args().nth(1).map(|port| port.parse()) {
        None => PORT,
        Some(Ok(port)) => port,
        Some(Err(_)) => {
            eprintln!("the only argument is the balancer's port");
            return ExitCode::from(2);
        }
    };
    let folder = project().join("target/cluster");
    let mut cluster = Cluster::start(&folder, port, |_| ());
    println!("http://{}/ is served by:", cluster.address());
    for (name, pid) in cluster.processes() {
        println!("  {name:8} process {pid}");
    }
    println!("Their files and logs are in {}. Try:", folder.display());
    println!(
        "  curl -i http://{}/limited/index.txt    # a hundred a day, of all three",
        cluster.address()
    );
    let second = cluster.processes()[4].1;
    println!("  kill -9 {second}                       # and ask again: the other two answer");
    println!("Ctrl-C ends all of them.");
    while cluster.is_running() {
        thread::sleep(Duration::from_millis(200));
    }
    ExitCode::SUCCESS
}
