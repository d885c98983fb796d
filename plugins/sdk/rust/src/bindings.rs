//! What `wit-bindgen` makes of the contract. The rest of the crate is the way to use it; this is public because
//! [`export!`](crate::export) needs it where it is used.
#![allow(unsafe_code, missing_docs, clippy::all)]

wit_bindgen::generate!({
    path: "wit",
    world: "wasmserve:policy/policy",
    generate_all,
    pub_export_macro: true,
    export_macro_name: "export_bindings",
    default_bindings_module: "wasmserve_plugin::bindings",
    additional_derives: [PartialEq, Eq],
});
