//! Misbehaviour: what the client gets.
