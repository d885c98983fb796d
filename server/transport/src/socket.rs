//! What the kernel says about a socket and no crate asks it safely.
use rustix::{
    fd::{AsFd, AsRawFd},
    io,
};
use std::ffi::c_int;

/// How many of the bytes that were written the peer has not acknowledged: SIOCOUTQ (tcp(7)).
#[allow(unsafe_code)]
pub(crate) fn unacknowledged(socket: impl AsFd) -> io::Result<u64> {
    const SIOCOUTQ: rustix::ioctl::Opcode = 0x5411;
    // SAFETY: SIOCOUTQ on a socket writes one int and reads nothing; `Getter` gives it room for one. The descriptor is
    // borrowed and so open.
    let count: c_int = unsafe {
        let getter = rustix::ioctl::Getter::<SIOCOUTQ, c_int>::new();
        rustix::ioctl::ioctl(socket, getter)?
    };
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Whether what the peer sent came in through a network device, as far as the kernel can tell: SO_INCOMING_NAPI_ID
/// (socket(7)). Between sockets of one kernel, over loopback or between containers, no device takes part and the number
/// is 0; so it is for device drivers that do not tell, and then the answer is no without need.
#[allow(unsafe_code)]
pub(crate) fn is_from_device(socket: impl AsFd) -> bool {
    let mut number: c_int = 0;
    let mut length = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the option is an int. `number` has room for `length` bytes and both live until the call is over. The
    // descriptor is borrowed and so open.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_INCOMING_NAPI_ID,
            (&raw mut number).cast(),
            &raw mut length,
        )
    };
    result == 0 && number != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
    };

    #[test]
    fn bytes_count_until_they_are_acknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        assert_eq!(unacknowledged(&server), Ok(0));
        server.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(count) = server.write(&[0; 64 * 1024]) {
            written += count;
        }
        assert!(
            unacknowledged(&server).unwrap() > 0,
            "more than the client's socket holds"
        );
        client.read_exact(&mut vec![0; written]).unwrap();
        while unacknowledged(&server).unwrap() > 0 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_client_of_the_same_kernel_is_known() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        assert!(!is_from_device(&server));
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(!is_from_device(&one));
    }
}
