#![no_main]
#[path = "../../../server/files/tests/oracle/mod.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    oracle::listing::check(data);
});
