//! HTTP/2 frame by frame (RFC 9113): what no library would send.
use crate::PATIENCE;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring::default_provider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

/// Types of frames (section 6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A client's setting: how many bytes of each stream it takes at first.
pub const INITIAL_WINDOW_SIZE: u16 = 4;

/// A connection over TLS, to a server whatever its certificate is.
pub struct Frames {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frames {
    /// Connects and tells these settings.
    pub fn open(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let socket = TcpStream::connect(address).expect("the server listens");
        for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
            set(&socket, Some(PATIENCE)).expect("a socket that is open");
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anything))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::from(address.ip());
        let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
        let mut frames = Self {
            stream: StreamOwned::new(connection, socket),
        };
        frames
            .write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .expect("the server listens");
        let settings = settings
            .iter()
            .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat());
        frames
            .send(SETTINGS, 0, 0, &settings.collect::<Vec<_>>())
            .expect("the server listens");
        frames
    }

    /// # Errors
    /// When the server takes nothing more.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).expect("a frame is short").to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.write(&frame)
    }

    /// # Errors
    /// When the server takes nothing more.
    pub fn get(&mut self, stream: u32, path: &str) -> io::Result<()> {
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, &request(path))
    }

    /// # Errors
    /// When the connection has ended.
    pub fn read(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).expect("a frame is short")];
        self.stream.read_exact(&mut payload)?;
        Ok(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & (u32::MAX >> 1),
            payload,
        })
    }

    /// Reads until a frame is what is looked for.
    ///
    /// # Panics
    /// When the connection ends first.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut found: impl FnMut(&Frame) -> bool) -> Frame {
        loop {
            match self.read() {
                Ok(frame) if found(&frame) => return frame,
                Ok(_) => {}
                Err(error) => panic!("the connection ended before {what}: {error}"),
            }
        }
    }

    /// Reads until the server ends the connection.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn ends(&mut self) {
        loop {
            match self.read() {
                Ok(_) => {}
                Err(error) if [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind()) => {
                    panic!("the connection does not end")
                }
                Err(_) => return,
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }
}

/// The fields of a GET (RFC 7541: the static table, and literals without indexing).
pub fn request(path: &str) -> Vec<u8> {
    let mut fields = vec![0x82, 0x87];
    fields.extend(literal(&[0x04], path));
    fields.extend(literal(&[0x01], "localhost"));
    fields
}

/// A field with a new name.
pub fn field(name: &str, value: &str) -> Vec<u8> {
    let name = literal(&[0], name);
    literal(&name, value)
}

fn literal(before: &[u8], text: &str) -> Vec<u8> {
    let mut bytes = before.to_vec();
    // An integer with a prefix of seven bits (section 5.1).
    let mut length = text.len();
    if length < 127 {
        bytes.push(u8::try_from(length).expect("less than 127"));
    } else {
        bytes.push(127);
        length -= 127;
        while length >= 128 {
            bytes.push(u8::try_from(length % 128 + 128).expect("a byte"));
            length /= 128;
        }
        bytes.push(u8::try_from(length).expect("less than 128"));
    }
    bytes.extend(text.as_bytes());
    bytes
}

/// Trusts whoever answers: tests ask their own server.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}
