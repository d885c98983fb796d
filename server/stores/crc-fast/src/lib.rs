//! CRC-64/NVME, in place of crate `crc-fast`.
//!
//! object_store asks for that crate to check uploads to S3 by CRC-64/NVME, and this server never uploads. The original is
//! some 10,000 lines of vector code with a C interface, and turns on features of crates that wasmtime is built on, so that
//! everything would be compiled anew. This is the same checksum by the definition, byte by byte: right, not fast.
#![forbid(unsafe_code)]

/// The checksums that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrcAlgorithm {
    Crc64Nvme,
}

/// A checksum under way.
#[derive(Clone, Copy, Debug)]
pub struct Digest {
    state: u64,
}

/// The polynomial of the NVM Express NVM Command Set Specification (0xad93d23594c93659), its bits in reverse order.
const POLYNOMIAL: u64 = 0x9a6c_9329_ac4b_c9b5;

impl Digest {
    pub fn new(algorithm: CrcAlgorithm) -> Self {
        match algorithm {
            CrcAlgorithm::Crc64Nvme => Self { state: u64::MAX },
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.state ^= u64::from(*byte);
            for _ in 0..8 {
                let carry = self.state & 1;
                self.state = self.state >> 1 ^ POLYNOMIAL * carry;
            }
        }
    }

    pub fn finalize(&self) -> u64 {
        !self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_catalogue() {
        // https://reveng.sourceforge.io/crc-catalogue/17plus.htm: CRC-64/NVME of "123456789".
        let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
        digest.update(b"12345");
        digest.update(b"6789");
        assert_eq!(digest.finalize(), 0xae8b_1486_0a79_9888);
    }
}
