//! How an error is told: one block on standard error, each cause on its own lines, for people.

use crate::config::errors::without_number;
use std::error::Error;

/// Prints an error and its causes.
pub fn print(error: &(dyn Error + 'static)) {
    eprintln!("{}", block(error));
}

fn block(error: &(dyn Error + 'static)) -> String {
    let mut text = format!("error: {}", without_number(&error.to_string()));
    let mut cause = error.source();
    while let Some(error) = cause {
        for line in without_number(&error.to_string()).lines() {
            text.push_str("\n  ");
            text.push_str(line);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_follow_on_their_own_lines() {
        let cause = anyhow::anyhow!("first\nsecond")
            .context("a.toml cannot be read")
            .context("no chain");
        assert_eq!(
            block(&*cause),
            "error: no chain\n  a.toml cannot be read\n  first\n  second"
        );
        let missing = anyhow::Error::new(std::io::Error::from_raw_os_error(2)).context("no file");
        assert_eq!(block(&*missing), "error: no file\n  No such file or directory");
    }
}
