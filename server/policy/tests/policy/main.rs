//! The policy host from outside: guests of a few lines, and what the chain makes of them.
mod guest;
mod harness;

mod chain;
mod faults;
mod load;
