//! `wasmserve password`: a password in, a hash for the configuration out.

use super::Outcome;
use anyhow::{Context, ensure};
use argon2::{Argon2, PasswordHasher};
use std::{
    io::{self, BufRead, IsTerminal},
    process::ExitCode,
};

/// What a client may send as a password is bounded by the size of a request's head anyway.
const LONGEST: u64 = 1024;

/// Reads a password and prints its hash.
pub fn run() -> Outcome {
    let password = if io::stdin().is_terminal() {
        ask()?
    } else {
        read_line(io::stdin().lock())?
    };
    ensure!(!password.is_empty(), "the password is empty");
    println!("{}", hash(&password)?);
    Ok(ExitCode::SUCCESS)
}

/// Asks twice, without showing what is typed.
fn ask() -> anyhow::Result<String> {
    let password = rpassword::prompt_password("Password: ").context("cannot read the password")?;
    let again = rpassword::prompt_password("Again: ").context("cannot read the password")?;
    ensure!(password == again, "the two passwords differ");
    Ok(password)
}

/// One line, without its end.
pub fn read_line(input: impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    input.take(LONGEST).read_line(&mut line).context("cannot read a line")?;
    let password = line.strip_suffix('\n').unwrap_or(&line);
    let password = password.strip_suffix('\r').unwrap_or(password);
    ensure!(
        password.len() < LONGEST as usize - 1,
        "the line is longer than {} bytes",
        LONGEST - 2
    );
    Ok(password.to_owned())
}

/// argon2id with the crate's parameters (19 MiB, two passes, OWASP's first choice) and a random salt, as a PHC string.
fn hash(password: &str) -> anyhow::Result<String> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    Ok(hash
        .map_err(|error| anyhow::anyhow!("cannot hash the password: {error}"))?
        .to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::{PasswordVerifier, password_hash::phc::PasswordHash};

    #[test]
    fn a_hash_verifies_its_password_alone_and_is_salted() {
        let first = hash("correct horse").unwrap();
        assert!(first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{first}");
        assert_ne!(first, hash("correct horse").unwrap());
        let parsed = PasswordHash::new(&first).unwrap();
        assert!(Argon2::default().verify_password(b"correct horse", &parsed).is_ok());
        assert!(Argon2::default().verify_password(b"correct horse ", &parsed).is_err());
    }

    #[test]
    fn a_line_loses_its_end_and_nothing_else() {
        for (input, expected) in [
            ("a b \n", "a b "),
            ("a\r\n", "a"),
            ("a", "a"),
            ("", ""),
            ("\n", ""),
            ("a\nb\n", "a"),
        ] {
            assert_eq!(read_line(input.as_bytes()).unwrap(), expected, "{input:?}");
        }
        assert!(read_line("x".repeat(2000).as_bytes()).is_err());
    }
}
