//! `wasmserve explain`: why a request is answered as it is, by what is loaded anew or by a server that runs.

use super::{Outcome, ServeOptions};
use crate::{
    admin::{Client, api},
    explain::{
        Account, Asked,
        asked::{field, url},
        secrets,
    },
};
use anyhow::Context;
use clap::Args;
use http::{HeaderName, HeaderValue, Method, Uri};
use std::{
    io::{self, Write},
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

#[derive(Debug, Args)]
#[command(allow_missing_positional = true)]
pub struct ExplainOptions {
    /// Method of the request
    #[arg(default_value = "GET")]
    method: Method,

    /// Path or URL that is asked for, such as /private/ or http://example.org/private/
    ///
    /// A path is asked of the host "localhost", unless there is a Host among the header fields.
    #[arg(value_parser = url)]
    url: Uri,

    /// Header field of the request, such as "Accept: text/html"; may be given several times
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = field)]
    headers: Vec<(HeaderName, HeaderValue)>,

    /// Address that the request comes from
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    client: IpAddr,

    /// Ask a server that runs, through its admin socket: what it has loaded, and what it keeps
    ///
    /// The path is the one that the server was given with --admin.
    #[arg(long, value_name = "SOCKET", conflicts_with_all = ["config", "root", "plugins"])]
    server: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    /// Show credentials and cookies, which are hidden otherwise
    #[arg(long)]
    show_secrets: bool,

    #[command(flatten)]
    serve: ServeOptions,
}

/// Decides a request, and prints how.
pub fn run(options: &ExplainOptions) -> Outcome {
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    let account = runtime.block_on(async {
        match &options.server {
            Some(socket) => options.ask(socket).await,
            None => options.load().await,
        }
    })?;
    let text = if options.json {
        serde_json::to_string_pretty(&account).context("cannot be written as JSON")? + "\n"
    } else {
        account.to_string()
    };
    let mut output = io::stdout().lock();
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    written.context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

// === impl ExplainOptions ===

impl ExplainOptions {
    /// By sites that are loaded for this.
    async fn load(&self) -> Result<Account, anyhow::Error> {
        let (_, sites) = self.serve.load().await?;
        let (mut account, _) = Account::of(&sites, self.asked().arrival()).await;
        if !self.show_secrets {
            secrets::hide(&mut account);
        }
        Ok(account)
    }

    /// By a server that runs.
    async fn ask(&self, socket: &Path) -> Result<Account, anyhow::Error> {
        let question = api::Question::new(&self.asked(), self.show_secrets);
        Ok(Client::new(socket).explain(&question).await?)
    }

    fn asked(&self) -> Asked {
        Asked {
            method: self.method.clone(),
            url: self.url.clone(),
            headers: self.headers.clone(),
            client: Some(self.client),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        explain: ExplainOptions,
    }

    fn typed(arguments: &[&str]) -> Result<ExplainOptions, clap::Error> {
        let arguments = ["explain"].iter().chain(arguments);
        Typed::try_parse_from(arguments).map(|typed| typed.explain)
    }

    #[test]
    fn the_method_may_be_left_out() {
        for (arguments, method, url) in [
            (&["/a"][..], "GET", "/a"),
            (&["HEAD", "/a?b"], "HEAD", "/a?b"),
            (&["/a", "-H", "A: b"], "GET", "/a"),
            (&["-H", "A: b", "POST", "/a", "--json"], "POST", "/a"),
            (&["--client", "::1", "/a"], "GET", "/a"),
            (&["OPTIONS", "*"], "OPTIONS", "*"),
            (&["--server", "admin.sock", "/a"], "GET", "/a"),
        ] {
            let options = typed(arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
            assert_eq!((options.method.as_str(), &*options.url.to_string()), (method, url));
        }
    }

    #[test]
    fn mapped_addresses_are_told_as_on_a_connection() {
        let options = typed(&["/", "--client", "::ffff:192.0.2.1"]).expect("an address");
        assert_eq!(options.asked().arrival().client, Some(IpAddr::from([192, 0, 2, 1])));
        assert!(typed(&["/", "--client", "office"]).is_err());
    }

    #[test]
    fn a_server_that_runs_has_its_own_plugins() {
        for arguments in [
            &["--server", "s", "--plugins", "p", "/"][..],
            &["--server", "s", "--root", "r", "/"],
            &["--server", "s", "--config", "c", "/"],
        ] {
            assert!(typed(arguments).is_err(), "{arguments:?}");
        }
    }
}
