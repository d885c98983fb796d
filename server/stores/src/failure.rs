//! What went wrong, sorted by what it means for who asked; the reason goes to the log.
use http::StatusCode;
use object_store::{
    Error,
    client::{HttpError, HttpErrorKind},
};
use std::{cell::Cell, error, fmt::Write, io, iter};
use wasmserve_files::StoreError;

tokio::task_local! {
    /// The last status that came in answer to the question under way: object_store keeps it to itself.
    static STATUS: Cell<Option<StatusCode>>;
}

/// Asks, and gives the last status that a store answered with beside what came of it.
pub(crate) async fn watching<T>(asking: impl Future<Output = T>) -> (T, Option<StatusCode>) {
    let watched = async { (asking.await, STATUS.with(Cell::get)) };
    STATUS.scope(Cell::new(None), watched).await
}

/// A store answered with a status.
pub(crate) fn note(status: StatusCode) {
    // Outside of a question nobody wants to know.
    let _ = STATUS.try_with(|noted| noted.set(Some(status)));
}

/// How long a reason may be in the log: some stores send pages.
const LONGEST_REASON: usize = 600;

/// What a failure means, with the status of the last answer if one came.
pub(crate) fn sort(error: &Error, status: Option<StatusCode>) -> StoreError {
    match error {
        Error::NotFound { .. } => return StoreError::NotThere,
        Error::Precondition { .. } | Error::NotModified { .. } => return StoreError::Changed,
        _ => {}
    }
    let mut is_slow = false;
    let mut is_broken_off = false;
    for cause in causes(error) {
        if let Some(error) = cause.downcast_ref::<HttpError>() {
            is_broken_off = true;
            is_slow |= error.kind() == HttpErrorKind::Timeout;
        }
        let error = cause.downcast_ref::<io::Error>();
        is_slow |= error.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut);
    }
    match status.filter(|_| !is_broken_off) {
        // object_store has an error of its own for it, but not of listings.
        Some(StatusCode::FORBIDDEN) if !blames_keys(error) => StoreError::Denied,
        Some(StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) => StoreError::Busy,
        Some(StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT) => StoreError::Slow,
        _ if is_slow => StoreError::Slow,
        _ => StoreError::Broken,
    }
}

/// Whether a refusal is of whoever asks, not of what is asked for. A HEAD has no body to say so.
fn blames_keys(error: &Error) -> bool {
    causes(error).any(|cause| {
        let text = cause.to_string();
        text.contains("<Code>") && !text.contains("<Code>AccessDenied</Code>")
    })
}

/// Why, in one line for the log. object_store leaves signatures and keys out of its errors.
pub(crate) fn reason(error: &Error) -> String {
    let mut reason = match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            "the store refuses the server's credentials (without s3:ListBucket it does so for objects that are not there: \
             see `denied` of [site.store])"
                .to_owned()
        }
        _ => error.to_string(),
    };
    for cause in causes(error).skip(1) {
        let text = cause.to_string();
        if !reason.contains(&text) {
            let _ = write!(reason, ": {text}");
        }
    }
    let mut reason: String = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = reason.char_indices().nth(LONGEST_REASON) {
        reason.truncate(end);
        reason.push('\u{2026}');
    }
    reason
}

fn causes(error: &Error) -> impl Iterator<Item = &(dyn error::Error + 'static)> {
    iter::successors(Some(error as &(dyn error::Error + 'static)), |error| error.source())
}
