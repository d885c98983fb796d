//! One order, from the account to a certificate that is stored (RFC 8555, section 7.4).

use super::{
    AcmeError, AcmeSettings, Binding,
    challenges::{Challenges, Method},
    schedule::Setback,
    store::{Store, Stored, UnusableError},
};
use crate::net::outgoing::{Outgoing, OutgoingError};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType, ExternalAccountKey,
    HttpClient, Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use std::{future::Future, io, pin::Pin, time::Duration};
use tokio::sync::Mutex;

/// How long an authority may take for one answer, and for a whole order.
const ANSWER: Duration = Duration::from_secs(30);
const ORDER: Duration = Duration::from_secs(300);

/// How an order's progress is asked for.
const POLLING: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .backoff(1.5)
    .timeout(Duration::from_secs(120));

/// An authority, and what is kept of it.
pub struct Authority {
    pub settings: AcmeSettings,
    pub store: Store,
    client: Outgoing,
    binding: Option<ExternalAccountKey>,
    account: Mutex<Option<Account>>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    #[error("the authority cannot be asked")]
    Unreachable(#[source] OutgoingError),
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Limited(String),
    #[error("the authority does not know the account any more: another is made")]
    NoAccount,
    #[error("what the authority says cannot be understood")]
    Library(#[source] instant_acme::Error),
    #[error("the authority offers none of the configured challenges")]
    NoChallenge,
    #[error("what is kept of the authority cannot be read or written")]
    Kept(#[from] io::Error),
    #[error("the certificate that came cannot be used")]
    Unusable(#[from] UnusableError),
    #[error("the answer to the challenge cannot be made")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("it took longer than {}", humantime::format_duration(ORDER))]
    Late,
    #[error("it was broken off")]
    BrokenOff,
}

// === impl Authority ===

impl Authority {
    /// Blocks.
    ///
    /// # Errors
    /// A file of trusted certificates that has none, a key that cannot be read.
    pub fn new(settings: AcmeSettings, store: Store) -> Result<Self, AcmeError> {
        Ok(Self {
            client: Outgoing::new(settings.authorities.as_deref(), ANSWER)?,
            binding: settings.binding.as_ref().map(Binding::key).transpose()?,
            settings,
            store,
            account: Mutex::default(),
        })
    }

    /// Orders a certificate for a name and stores it. `attempt`: from 0; each tries the next of the configured challenges.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn order(&self, name: &str, attempt: u32, challenges: &Challenges) -> Result<Stored, OrderError> {
        let ordered = tokio::time::timeout(ORDER, self.try_order(name, attempt, challenges)).await;
        let ordered = ordered.unwrap_or(Err(OrderError::Late));
        if let Err(OrderError::NoAccount) = ordered {
            *self.account.lock().await = None;
            self.store.forget_account();
        }
        ordered
    }

    async fn try_order(&self, name: &str, attempt: u32, challenges: &Challenges) -> Result<Stored, OrderError> {
        let account = self.account().await?;
        let identifiers = [Identifier::Dns(name.to_owned())];
        let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
        let mut shown = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            match authorization.status {
                AuthorizationStatus::Pending => {}
                // It was seen a while ago.
                AuthorizationStatus::Valid => continue,
                other => return Err(OrderError::Refused(format!("the authorization is {other:?}"))),
            }
            let mut offered = self.methods(attempt);
            let offered = offered.find(|method| {
                let kind = kind(*method);
                authorization
                    .challenges
                    .iter()
                    .any(|challenge| challenge.r#type == kind)
            });
            let method = offered.ok_or(OrderError::NoChallenge)?;
            let mut challenge = authorization.challenge(kind(method)).ok_or(OrderError::NoChallenge)?;
            let answer = challenges.show(method, name, &challenge.token, &challenge.key_authorization());
            shown.push(answer.map_err(OrderError::Answer)?);
            challenge.set_ready().await?;
        }
        match order.poll_ready(&POLLING).await {
            Ok(OrderStatus::Ready) => {}
            Ok(_) | Err(instant_acme::Error::Api(_)) => return Err(refusal(&mut order).await),
            Err(error) => return Err(error.into()),
        }
        let key = order.finalize().await?;
        let chain = order.poll_certificate(&POLLING).await?;
        drop(shown);
        Ok(self.store.keep(name, &key, &chain)?)
    }

    /// In the order in which this attempt tries them.
    fn methods(&self, attempt: u32) -> impl Iterator<Item = Method> + use<'_> {
        let methods = &self.settings.challenges;
        let first = usize::try_from(attempt).unwrap_or(0) % methods.len().max(1);
        methods.iter().cycle().skip(first).take(methods.len()).copied()
    }

    /// The account that is kept, or a new one.
    async fn account(&self) -> Result<Account, OrderError> {
        let mut held = self.account.lock().await;
        if let Some(account) = &*held {
            return Ok(account.clone());
        }
        let builder = Account::builder_with_http(Box::new(Client(self.client.clone())));
        let kept = self.store.account()?;
        let kept = kept.and_then(|text| serde_json::from_slice::<AccountCredentials>(&text).ok());
        let account = match kept {
            Some(credentials) => builder.from_credentials(credentials).await?,
            None => {
                let contact: Vec<&str> = self.settings.contact.iter().map(String::as_str).collect();
                let new = NewAccount {
                    contact: &contact,
                    terms_of_service_agreed: true,
                    only_return_existing: false,
                };
                let (account, credentials) = builder
                    .create(&new, self.settings.directory.clone(), self.binding.as_ref())
                    .await?;
                self.store
                    .keep_account(&serde_json::to_vec(&credentials).map_err(io::Error::other)?)?;
                account
            }
        };
        Ok(held.insert(account).clone())
    }
}

fn kind(method: Method) -> ChallengeType {
    match method {
        Method::TlsAlpn01 => ChallengeType::TlsAlpn01,
        Method::Http01 => ChallengeType::Http01,
    }
}

/// What the authority says of the challenge that it did not accept.
async fn refusal(order: &mut Order) -> OrderError {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.refresh().await.is_err() {
            break;
        }
        let failed = authorization.challenges.iter().find_map(|challenge| {
            let error = challenge.error.as_ref()?;
            Some(format!("{:?}: {}", challenge.r#type, told(error)))
        });
        if let Some(failed) = failed {
            return OrderError::Refused(failed);
        }
    }
    OrderError::Refused("the authority does not say why".into())
}

fn told(problem: &instant_acme::Problem) -> String {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    let kind = kind.rsplit(':').next().unwrap_or_default();
    format!("{} ({kind})", problem.detail.as_deref().unwrap_or("without a reason"))
}

// === impl OrderError ===

impl OrderError {
    pub fn setback(&self) -> Setback {
        match self {
            Self::Unreachable(_) | Self::Kept(_) | Self::NoAccount | Self::BrokenOff | Self::Late => {
                Setback::Unreachable
            }
            Self::Limited(_) => Setback::Limited,
            Self::Refused(_) | Self::Library(_) | Self::NoChallenge | Self::Unusable(_) | Self::Answer(_) => {
                Setback::Refused
            }
        }
    }
}

impl From<instant_acme::Error> for OrderError {
    fn from(error: instant_acme::Error) -> Self {
        match error {
            instant_acme::Error::Api(problem) => match problem.r#type.as_deref() {
                Some("urn:ietf:params:acme:error:rateLimited") => Self::Limited(told(&problem)),
                Some("urn:ietf:params:acme:error:accountDoesNotExist") => Self::NoAccount,
                _ => Self::Refused(told(&problem)),
            },
            instant_acme::Error::Other(other) => match other.downcast::<OutgoingError>() {
                Ok(error) => Self::Unreachable(*error),
                Err(other) => Self::Library(instant_acme::Error::Other(other)),
            },
            error => Self::Library(error),
        }
    }
}

/// How the library asks the authority.
struct Client(Outgoing);

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let client = self.0.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(never) => match never {},
            };
            let answer = client.ask(Request::from_parts(head, body)).await;
            let answer = answer.map_err(|error| instant_acme::Error::Other(Box::new(error)))?;
            Ok(BytesResponse::from(answer.map(Full::new)))
        })
    }
}
