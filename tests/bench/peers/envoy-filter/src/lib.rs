//! The policy of the comparison as an Envoy filter: one header field lets a request through.
use proxy_wasm::{
    traits::{Context, HttpContext},
    types::Action,
};

proxy_wasm::main! {{
    proxy_wasm::set_http_context(|_, _| Box::new(Filter));
}}

struct Filter;

impl Context for Filter {}

impl HttpContext for Filter {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        if self.get_http_request_header("x-key").as_deref() == Some("open") {
            return Action::Continue;
        }
        self.send_http_response(403, Vec::new(), None);
        Action::Pause
    }
}
