//! What it costs to ask for a signed token (RS256, 2048 bits): checked for every request by nginx's JavaScript and OpenSSL,
//! by the policy `jwt`, and by `jwt` once, because its decision is kept.
use crate::{
    Settings,
    peers::{Kind, Ours},
    report::Run,
    site::Site,
    workloads::{OURS, Point, rounds, start_all},
};
use std::sync::LazyLock;
use support::{Chain, Policy, tokens::TOKENS};

/// The field that lets a request through.
pub static BEARER: LazyLock<&'static [(&'static str, &'static str)]> = LazyLock::new(|| {
    let (_, _, token) = TOKENS[0];
    Box::leak(Box::new([("Authorization", &*format!("Bearer {token}").leak())]))
});

/// `settings`: further lines of the policy.
pub fn chain(settings: &str) -> Chain {
    let (algorithm, pem, _) = TOKENS[0];
    let config = format!("prefixes = [\"/\"]\nkeys = [{{ algorithm = {algorithm:?}, pem = {pem:?} }}]");
    Chain::new([Policy::standard("jwt").settings(settings).config(&config)])
}

/// The same check for njs: the algorithm, the signature, the expiry.
pub fn javascript() -> String {
    let (_, pem, _) = TOKENS[0];
    let key: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    format!(
        "const KEY = Buffer.from('{key}', 'base64');\n\
         const RS256 = {{ name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }};\n\
         const read = part => JSON.parse(Buffer.from(part, 'base64url').toString());\n\
         async function check(r) {{\n\
         const field = (r.headersIn['Authorization'] || '').split(' ');\n\
         const parts = (field[1] || '').split('.');\n\
         if (field[0] !== 'Bearer' || parts.length !== 3 || read(parts[0]).alg !== 'RS256') return r.return(401);\n\
         const key = await crypto.subtle.importKey('spki', KEY, RS256, false, ['verify']);\n\
         const signature = Buffer.from(parts[2], 'base64url');\n\
         const valid = await crypto.subtle.verify(RS256, key, signature, Buffer.from(parts[0] + '.' + parts[1]));\n\
         r.return(valid && Date.now() / 1000 < read(parts[1]).exp ? 204 : 401);\n\
         }}\n\
         export default {{ check }};\n"
    )
}

pub fn measure(settings: &Settings, run: &mut Run) -> Result<(), String> {
    let site = Site::new();
    let kinds = [
        Kind::Nginx,
        OURS,
        Kind::Ours(Ours::TokenKept),
        Kind::Ours(Ours::TokenFresh),
        Kind::NginxToken,
    ];
    let peers = start_all(settings, &kinds, &site)?;
    let points = [Point::new("1KiB", 1024.0)];
    rounds(settings, run, "tokens", &peers, &points, |peer, _| {
        peer.small_file(settings, 8, None)
    })
}
