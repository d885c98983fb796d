//! Signed tokens, for whoever asks for them and for what is compared with that.

/// Algorithms, public keys and tokens that OpenSSL signed: `{"sub":"alice","exp":4102444800}`. The
/// private keys are gone.
pub const TOKENS: [(&str, &str, &str); 3] = [
    (
        "RS256",
        "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA9KMR18HZjekZa9GIdWUx\nlbJlCXaWATMyvqtaPOqh6iyOSdiBwEglSEMtF/Wp7gpegO6GsUzz5HZnvvJS6kWr\nmxzMCkqEAXpPHAY7r8GPiA8Aln8upy1bbsHCRATI7eoLwekshqTo3g20hc7rIW/r\nSWbERVPsjvIILP1HELsaKfot51LKdADkUpjZK2RwpxhsIKhcLqpgwuDH+KV7IoMr\nIghQiXzEjyhT1FGrHFj423Km0CxVG2cfKmW+MpZufwQeXX1hpfvkxWrVJVoA8cXf\nfrZhkR367fdWVzD138QI8orxEJQo6ppOivSW5rgzuJEmqn/IgsJZ0jPZgTgHJvno\ntwIDAQAB\n-----END PUBLIC KEY-----",
        "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSIsImV4cCI6NDEwMjQ0NDgwMH0.vZeJkR9gXtAykCKPTEDjDaQvVTl7HCT0A-YtKlmTehK4m0JhjgdmXdOVQy2DOhshuIsmcIL2F16R5O-gG_lLgOMYSJh66V-4CV_7APt1WAz0ahpglXAaCujRgPyW3oBeKZBXLM6-x3ThMofOgSzpayjtnJC15o3ulAE1XXPnNGs5Spn0RHZYYOYAZ1zR_FOhfU_86yA4p08PT6elur7nk0nTSITNHVRV2fYHLpVEe4QZzChcMeRXxiN-1zp26VyWgK1_cmT8GSycLkVAjmVPFyFGzXpOvbE_4groOAu2jnTRm78zewY1vjZhV91z4Rv5n_t2bsRViueaO4t2WhXx5w",
    ),
    (
        "ES256",
        "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEv98b8TF2tqhE3JHkDT1J8XahyptM\nkLHrlettfjUPhyHLns9nQeRyHx50TH/9hP/87EMXKNgfGU2Q0SCBCG6sbg==\n-----END PUBLIC KEY-----",
        "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSIsImV4cCI6NDEwMjQ0NDgwMH0.8b8Sw4qp3JIkq6B91PwXCRRMx4e6_XKk1ExqoQjpk_mcFHwT6KlDK0haJiNOZLLA8aL5_EiB8U6kYDlL-lIw4w",
    ),
    (
        "EdDSA",
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAzEIbQDAmv56s3U73ACQOxXhfbmACl54peGca6JMWY88=\n-----END PUBLIC KEY-----",
        "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSIsImV4cCI6NDEwMjQ0NDgwMH0.JcnppyMqLUkQbi5UV15wHndKRlGDMhchU8FuFyT3236I5cQlYBLSG45-FZE6ttecEAw5CRxkVLu-3Vk5B7V_Dw",
    ),
];
