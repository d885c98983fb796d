//! Policies together: what is passed along, what accumulates, what wins.
use crate::{
    guest::{Guest, proceed},
    harness::{Chains, decide, get, targets},
};
#[tokio::test]
async fn one() {
    let chain = Chains::one(&Guest::replying(&proceed())).load().await;
    assert_eq!(targets(&decide(&chain, get("/x")).await), ["/x"]);
}
