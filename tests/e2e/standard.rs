//! The standard policies over sockets; what each key of their configuration does is tested beside them.
