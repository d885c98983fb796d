//! The contract of `wit/`, as Rust.
wasmtime::component::bindgen!({
    path: "../../wit",
    world: "wasmserve:policy/policy-with-services",
    imports: {
        default: trappable,
        // What keeps their data may be another machine one day.
        "wasmserve:policy/counters": async | trappable,
        "wasi:keyvalue/store": async | trappable,
        "wasi:keyvalue/atomics": async | trappable,
    },
    exports: { default: async },
    with: {
        "wasi:keyvalue/store.bucket": wasmserve_shared::Bucket,
        "wasi:http": wasmtime_wasi_http::p2::bindings::http,
        "wasi:io": wasmtime_wasi::p2::bindings::io,
        "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
    },
});

/// The world of observers.
pub(crate) mod observer {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "wasmserve:policy/observer",
        imports: { default: trappable },
        exports: { default: async },
        with: { "wasi:config/store": super::wasi::config::store },
    });
}
