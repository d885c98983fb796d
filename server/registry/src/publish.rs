//! Publishing: a plugin becomes an artifact of a registry (OCI distribution specification, "Pushing manifests").

use crate::{
    client::{Client, authority},
    credentials::Keyring,
    digest::Digest,
    fetch::{Bounds, FetchError, Session, within},
    oci,
    reference::{Artifact, Pinned, Place, Reference},
};
use bytes::Bytes;
use http::{Method, StatusCode, header};

/// Bytes of what a registry says to something that was sent.
const LONGEST_ANSWER: u64 = 64 << 10;

/// Sends a plugin to a registry, and says what pins it.
///
/// # Errors
/// When the reference is not of a registry or has a digest, or the registry does not take it.
pub async fn publish(
    client: &Client,
    keyring: &Keyring,
    reference: &Reference,
    plugin: Bytes,
    said: &oci::Description,
    bounds: Bounds,
) -> Result<Pinned, FetchError> {
    let Place::Artifact(artifact) = reference.place() else {
        return Err(FetchError::Artifact(
            "has to be in a registry: oci://REGISTRY/REPOSITORY:TAG".into(),
        ));
    };
    if reference.digest().is_some() {
        return Err(FetchError::Artifact(
            "gets its digest by being published: leave it out".into(),
        ));
    }
    let documents = oci::write(&plugin, said);
    let manifest = Bytes::from(documents.manifest);
    let digest = Digest::of(&manifest);
    within(bounds.time, async {
        let mut session = Session::new(client, keyring, &artifact.registry);
        upload(&mut session, artifact, plugin).await?;
        upload(&mut session, artifact, documents.config.into()).await?;
        let tag = artifact.tag.as_deref().unwrap_or("latest");
        let url = session.url(artifact, &format!("manifests/{tag}"))?;
        let host = authority(&url);
        let sent = (oci::MANIFEST, manifest);
        let reply = session.send(Method::PUT, url, "", sent, LONGEST_ANSWER).await?;
        match reply.status.is_success() {
            true => Ok(()),
            false => Err(session.status(host, reply.status)),
        }
    })
    .await?;
    Ok(Pinned {
        reference: reference.clone(),
        digest,
    })
}

/// Sends something that the registry does not have yet.
async fn upload(session: &mut Session<'_>, artifact: &Artifact, blob: Bytes) -> Result<(), FetchError> {
    let digest = Digest::of(&blob).to_string();
    let nothing = || ("", Bytes::new());
    let url = session.url(artifact, &format!("blobs/{digest}"))?;
    let there = session.send(Method::HEAD, url, "", nothing(), LONGEST_ANSWER).await?;
    if there.status == StatusCode::OK {
        return Ok(());
    }
    let url = session.url(artifact, "blobs/uploads/")?;
    let host = authority(&url);
    let begun = session
        .send(Method::POST, url.clone(), "", nothing(), LONGEST_ANSWER)
        .await?;
    if begun.status != StatusCode::ACCEPTED {
        return Err(session.status(host, begun.status));
    }
    let location = begun
        .headers
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok());
    let place = location.and_then(|location| url.join(location).ok());
    // What says who we are goes along: to nobody else.
    let place = place.filter(|place| place.origin() == url.origin());
    let mut place = place.ok_or(FetchError::Upload { host: host.clone() })?;
    place.query_pairs_mut().append_pair("digest", &digest);
    let sent = ("application/octet-stream", blob);
    let done = session.send(Method::PUT, place, "", sent, LONGEST_ANSWER).await?;
    match done.status {
        StatusCode::CREATED => Ok(()),
        status => Err(session.status(host, status)),
    }
}
