//! What a policy decides: the contract's own types, with builders.
pub use crate::bindings::exports::wasmserve::policy::guest::{
    Changes, Decision, Header, HeaderChange, HeaderOperation, Missing, Outcomes, Place, Response, Sharing,
};

/// Lets the request go on, to the next policy and from the last one to the file. As it is, unless changed:
///
/// ```
/// # use wasmserve_plugin::{Decision, proceed};
/// let decision: Decision = proceed().paths(["/about.html"]).header("Cache-Control", "max-age=60").into();
/// ```
pub fn proceed() -> Changes {
    Changes {
        paths: Vec::new(),
        place: None,
        missing: None,
        headers: Vec::new(),
        facts: Vec::new(),
        sharing: Sharing::Derived,
        pace: None,
    }
}

/// Answers the request with this status (200 to 599, but not 206, 304 or 416, which need a file), without headers or body
/// until they are added.
pub fn respond(status: u16) -> Response {
    Response {
        status,
        headers: Vec::new(),
        body: Vec::new(),
        sharing: Sharing::Derived,
    }
}

/// Refuses the request with a status such as 403, 404 or 429 and one line of text that says no more than the status.
pub fn deny(status: u16) -> Response {
    let reason = match status {
        400 => " Bad Request",
        401 => " Unauthorized",
        403 => " Forbidden",
        404 => " Not Found",
        405 => " Method Not Allowed",
        410 => " Gone",
        429 => " Too Many Requests",
        451 => " Unavailable For Legal Reasons",
        503 => " Service Unavailable",
        _ => "",
    };
    respond(status).text(format!("{status}{reason}\n"))
}

/// Sends the client elsewhere with 301, 302, 303, 307 or 308. `location` is a URL reference (RFC 9110, section 10.2.2): a
/// path of this site has to be encoded for it by [`path::encode`](crate::path::encode).
pub fn redirect(status: u16, location: impl Into<String>) -> Response {
    respond(status).header("Location", location)
}

/// Asks for a user name and a password (RFC 7617): 401 with `WWW-Authenticate: Basic`. The realm is what browsers show.
/// For another scheme use [`deny`]`(401)` with a `WWW-Authenticate` of its own.
pub fn unauthorized(realm: &str) -> Response {
    // A quoted-string (RFC 9110, section 5.6.4).
    let realm = realm.replace('\\', "\\\\").replace('"', "\\\"");
    deny(401).header(
        "WWW-Authenticate",
        format!("Basic realm=\"{realm}\", charset=\"UTF-8\""),
    )
}

// === impl Changes ===

impl Changes {
    /// Serves the first of these paths that exists. Canonical paths, as [`Request::path`](crate::Request::path) gives
    /// them: decoded, beginning with `/`. Replaces what earlier policies mapped.
    pub fn paths<P: Into<String>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.paths = paths.into_iter().map(Into::into).collect();
        self
    }

    /// Looks the paths up beneath a directory (a canonical path, `/` for all of it) of a root that the operator named.
    /// Nothing outside of the directory can be reached, by links either.
    pub fn place(mut self, root: impl Into<String>, directory: impl Into<String>) -> Self {
        self.place = Some(Place {
            root: root.into(),
            directory: directory.into(),
        });
        self
    }

    /// What is sent when no path exists: the first of these that does, with 404 or 410, or with 200 for a single-page
    /// application that shows its own pages.
    pub fn missing<P: Into<String>>(mut self, status: u16, paths: impl IntoIterator<Item = P>) -> Self {
        self.missing = Some(Missing {
            paths: paths.into_iter().map(Into::into).collect(),
            status,
        });
        self
    }

    /// Redirects when no path exists: to `location`, with 301, 302, 303, 307 or 308. A file that is there is served.
    /// Replaces what was said of missing files before, as [`missing`](Self::missing) does.
    pub fn missing_redirect(self, status: u16, location: impl Into<String>) -> Self {
        self.missing(status, [] as [String; 0])
            .change(HeaderChange::set("Location", location).when(Outcomes::REDIRECTED))
    }

    /// Sets a response header, whatever the outcome: shorthand for [`change`](Self::change) with [`HeaderChange::set`].
    pub fn header(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.change(HeaderChange::set(name, value))
    }

    /// Adds a response header beside others of its name.
    pub fn append_header(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.change(HeaderChange::append(name, value))
    }

    /// Removes every response header of this name.
    pub fn remove_header(self, name: impl Into<String>) -> Self {
        self.change(HeaderChange::remove(name))
    }

    /// Changes a response header, perhaps only for some outcomes or media types. Changes are applied in order to whatever
    /// the request leads to, a 404 and a later policy's refusal too.
    pub fn change(mut self, change: HeaderChange) -> Self {
        self.headers.push(change);
        self
    }

    /// Establishes something about the request for later policies and the log, such as `user`. The manifest's
    /// `facts.establishes` has to list the name.
    pub fn fact(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.facts.push((name.into(), value.into()));
        self
    }

    /// The most bytes of body a second for this response, at least 1. The lowest of the chain counts.
    pub fn pace(mut self, bytes_per_second: u64) -> Self {
        self.pace = Some(bytes_per_second);
        self
    }

    /// What caches may do. [`Sharing::Derived`] unless set; [`Sharing::Allowed`] needs the operator's grant.
    pub fn sharing(mut self, sharing: Sharing) -> Self {
        self.sharing = sharing;
        self
    }
}

impl From<Changes> for Decision {
    fn from(changes: Changes) -> Self {
        Self::Proceed(changes)
    }
}

// === impl HeaderChange ===

impl HeaderChange {
    /// Replaces every field of this name by one with this value.
    pub fn set(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self::new(HeaderOperation::Set, name.into(), value.into())
    }

    /// Adds a field of this name, whatever is there already.
    pub fn append(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self::new(HeaderOperation::Append, name.into(), value.into())
    }

    /// Removes every field of this name.
    pub fn remove(name: impl Into<String>) -> Self {
        Self::new(HeaderOperation::Remove, name.into(), String::new())
    }

    fn new(operation: HeaderOperation, name: String, value: String) -> Self {
        Self {
            operation,
            name,
            value,
            when: Outcomes::empty(),
            types: Vec::new(),
        }
    }

    /// Only for these outcomes, such as `Outcomes::FOUND | Outcomes::MISSING`. Declared rather than asked, because the
    /// decision falls before the file is looked up.
    pub fn when(mut self, outcomes: Outcomes) -> Self {
        self.when = outcomes;
        self
    }

    /// Only for these media types, such as `text/html`, or `image/*` for all of a type.
    pub fn types<T: Into<String>>(mut self, types: impl IntoIterator<Item = T>) -> Self {
        self.types = types.into_iter().map(Into::into).collect();
        self
    }
}

// === impl Response ===

impl Response {
    /// Adds a header field.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push(Header {
            name: name.into(),
            value: value.into(),
        });
        self
    }

    /// The body (at most 256 KiB) and its media type.
    pub fn body(mut self, media_type: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("Content-Type", media_type)
    }

    /// A body of plain text.
    pub fn text(self, text: impl Into<String>) -> Self {
        self.body("text/plain; charset=utf-8", text.into())
    }

    /// A body of HTML.
    pub fn html(self, html: impl Into<String>) -> Self {
        self.body("text/html; charset=utf-8", html.into())
    }

    /// What caches may do. [`Sharing::Derived`] unless set; [`Sharing::Allowed`] needs the operator's grant.
    pub fn sharing(mut self, sharing: Sharing) -> Self {
        self.sharing = sharing;
        self
    }
}

impl From<Response> for Decision {
    fn from(response: Response) -> Self {
        Self::Respond(response)
    }
}
