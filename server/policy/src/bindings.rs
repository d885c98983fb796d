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
    with: { "wasi:keyvalue/store.bucket": crate::services::Bucket },
});
