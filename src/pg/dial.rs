//! Connects a host: addresses, sockets, TLS.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect as _};

use super::conninfo::{Endpoint, Host};
use super::tls::{SslMode, Tls};
use super::transport::Transport;

/// Idle time after which a silent peer is probed, …
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// … interval between probes, …
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// … and number of unanswered probes after which the connection ends.
const KEEPALIVE_PROBES: u32 = 3;
/// How long the peer may leave bytes unacknowledged before the connection ends. A shorter time would also end, on Linux, a
/// connection whose peer is alive but has closed its receive window, like a server that stalls on its disk.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(120);

/// One address of a host, and its TLS settings.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// The address of the socket.
    pub(super) address: Address,
    /// The name that the certificate must match.
    pub(super) name: String,
    /// TLS settings; `None` for plain text.
    pub(super) tls: Option<Tls>,
}

/// An address that needs no lookup.
#[derive(Debug, Clone)]
pub(super) enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// Address and port.
    Tcp(SocketAddr),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

/// The reason there is no transport.
#[derive(Debug)]
pub(super) enum DialError {
    /// The socket did not connect, or broke during the TLS handshake.
    Socket(io::Error),
    /// The server does not support TLS, and plain text is not allowed.
    NoTls,
    /// The server does not speak PostgreSQL's protocol.
    NotPostgres,
    /// The TLS handshake failed.
    Tls(io::Error),
}

/// Returns all addresses of a host, in the resolver's order.
pub(super) async fn peers(endpoint: &Endpoint) -> io::Result<Vec<Peer>> {
    let peer = |address, name: &str| Peer { address, name: name.to_owned(), tls: endpoint.tls.clone() };
    match &endpoint.host {
        Host::Unix(directory) => {
            let socket = directory.join(format!(".s.PGSQL.{}", endpoint.port));
            Ok(vec![peer(Address::Unix(socket), "")])
        }
        Host::Tcp { name, address: Some(address) } => {
            Ok(vec![peer(Address::Tcp((*address, endpoint.port).into()), name)])
        }
        Host::Tcp { name, address: None } => {
            let found = lookup_host((name.as_str(), endpoint.port)).await?;
            Ok(found.map(|address| peer(Address::Tcp(address), name)).collect())
        }
    }
}

impl Peer {
    /// Returns the peer without TLS, for the second attempt of `prefer`.
    pub(super) fn in_plain_text(&self) -> Self {
        Self { tls: None, ..self.clone() }
    }

    /// Connects a socket and, if configured, starts TLS. The caller limits the time.
    pub(super) async fn dial(&self) -> Result<Transport, DialError> {
        let stream = match &self.address {
            Address::Unix(path) => return dial_unix(path).await.map_err(DialError::Socket),
            Address::Tcp(address) => dial_tcp(*address).await.map_err(DialError::Socket)?,
        };
        match &self.tls {
            None => Ok(Transport::Tcp(stream)),
            Some(tls) => begin_tls(stream, tls, &self.name).await,
        }
    }
}

async fn dial_unix(path: &Path) -> io::Result<Transport> {
    UnixStream::connect(path).await.map(Transport::Unix)
}

async fn dial_tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    Ok(stream)
}

/// Requests TLS and performs the handshake (PostgreSQL manual, 55.2.10).
///
/// Reads exactly one byte before the handshake: anything an attacker appends in plain text becomes part of the handshake,
/// which then fails.
async fn begin_tls(mut stream: TcpStream, tls: &Tls, name: &str) -> Result<Transport, DialError> {
    if !tls.direct {
        let mut request = bytes::BytesMut::new();
        postgres_protocol::message::frontend::ssl_request(&mut request);
        stream.write_all(&request).await.map_err(DialError::Socket)?;
        let mut answer = [0];
        stream.read_exact(&mut answer).await.map_err(DialError::Socket)?;
        match answer[0] {
            b'S' => {}
            b'N' if tls.mode == SslMode::Prefer => return Ok(Transport::Tcp(stream)),
            b'N' => return Err(DialError::NoTls),
            _ => return Err(DialError::NotPostgres),
        }
    }
    let mut connector = tls.connector.clone();
    let Ok(handshake) = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut connector, name);
    let stream = handshake.connect(stream).await.map_err(DialError::Tls)?;
    Ok(Transport::Tls(Box::new(stream)))
}

impl Address {
    /// Returns whether it is an IPv6 address, the only kind that Supabase's direct hosts have.
    pub(super) fn is_ipv6(&self) -> bool {
        matches!(self, Self::Tcp(address) if matches!(address.ip(), IpAddr::V6(_)))
    }
}
