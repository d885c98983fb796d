//! The policy host from outside: guests of a few lines, and what the chain makes of them.
mod guest;
mod harness;

mod chain;
mod differential;
mod evidence;
mod explain;
mod faults;
mod load;
mod logs;
mod replay;
mod reuse;
mod shadow;
mod snapshot;
