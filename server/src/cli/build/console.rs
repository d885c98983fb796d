//! What people see while plugins are built: lines that stay, and one that does not.

use std::io::{self, IsTerminal, Write};

/// Standard error.
pub struct Console {
    /// Whether somebody watches: only then is there a line that changes.
    watched: bool,
}

/// What of a passing line fits on most terminals. A line that wraps would not be taken back.
const WIDTH: usize = 79;

const TAKE_BACK: &str = "\r\x1b[K";

// === impl Console ===

impl Console {
    pub fn new() -> Self {
        Self {
            watched: io::stderr().is_terminal(),
        }
    }

    pub fn is_watched(&self) -> bool {
        self.watched
    }

    /// A line that stays.
    pub fn line(&self, text: &str) {
        self.write(&format!("{}{text}\n", if self.watched { TAKE_BACK } else { "" }));
    }

    /// What is going on, until the next line.
    pub fn passing(&self, text: &str) {
        if self.watched {
            let visible: String = text
                .chars()
                .filter(|character| !character.is_control())
                .take(WIDTH)
                .collect();
            self.write(&format!("{TAKE_BACK}{visible}"));
        }
    }

    /// A message that nobody can be told is no reason to stop building.
    fn write(&self, text: &str) {
        let mut stderr = io::stderr().lock();
        let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
    }
}
