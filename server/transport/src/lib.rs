//! Bodies whose file spans the kernel copies (sendfile) under hyper, fail-safe.
#![deny(unsafe_code)]
