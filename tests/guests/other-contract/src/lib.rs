//! Exports a version of the contract that no server knows.
wit_bindgen::generate!({
    inline: "
        package wasmserve:policy@9.9.0;
        interface guest {
            configure: func() -> result<_, string>;
        }
        world policy {
            export guest;
        }
    ",
});

use exports::wasmserve::policy::guest::Guest;

struct OtherContract;

export!(OtherContract);

impl Guest for OtherContract {
    fn configure() -> Result<(), String> {
        Ok(())
    }
}
