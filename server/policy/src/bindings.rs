//! The contract of `wit/`, as Rust.
wasmtime::component::bindgen!({
    path: "../../wit",
    world: "wasmserve:policy/policy-with-services",
    imports: { default: trappable },
    exports: { default: async },
});
