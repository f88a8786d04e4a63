//! Resolves a connection string to hosts, credentials and TLS, in the same way as libpq.
//!
//! Precedence: the string, then the service file, then PG* variables, then defaults. A password that none of them has comes
//! from the password file. One rule is stricter than libpq's: this program connects to two servers with one environment, so a
//! secret meant for one host must not reach the other. PGPASSWORD and PGHOSTADDR are used only if the string (with its
//! service) names no host, or the host in PGHOST. The same holds for the password and hostaddr of a service named by
//! PGSERVICE.

mod environment;
mod handover;
mod keys;
mod pgpass;
mod service;
mod settings;
mod text;

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::environment::Environment;
pub use self::handover::ForLibpq;
use self::pgpass::PassFile;
use self::settings::Settings;
use super::tls::{ClientCertificate, Options, Roots, SslMode, Tls};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::secret::Secret;

/// Directories for the server's Unix socket: Debian and Red Hat, then PostgreSQL's own default.
const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// Everything needed to connect. Its `Debug` shows no password.
#[derive(Debug, Clone)]
pub struct ConnInfo {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) user: String,
    pub(super) dbname: String,
    pub(super) options: Option<String>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) target: TargetSession,
    pub(super) channel_binding: tokio_postgres::config::ChannelBinding,
    /// Passwords that were found but not used, with the reason, for the hint of a refused login.
    pub(super) notes: Vec<String>,
}

/// One of the hosts to try.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// Its location.
    pub(super) host: Host,
    /// Its port, which is also part of the name of a Unix socket.
    pub(super) port: u16,
    /// TLS settings; `None` for plain text.
    pub(super) tls: Option<Tls>,
    /// The password for this host.
    pub(super) password: Option<Secret>,
    /// The origin of the password, for messages.
    pub(super) password_from: String,
}

/// The location of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    /// The directory of its Unix socket.
    Unix(PathBuf),
    /// A name, and its address if no lookup is needed.
    Tcp {
        /// The name or address as given.
        name: String,
        /// `hostaddr`, or `name` if it is an address.
        address: Option<IpAddr>,
    },
}

/// `target_session_attrs`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TargetSession {
    /// Any server.
    Any,
    /// A server that is not a standby, and not read-only by default.
    ReadWrite,
    /// A standby, or read-only by default.
    ReadOnly,
    /// Not a standby.
    Primary,
    /// A standby.
    Standby,
    /// A standby if one answers, otherwise any server.
    PreferStandby,
}

impl Host {
    /// Returns whether traffic to it stays on this machine.
    fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { address: Some(address), .. } => address.is_loopback(),
            Self::Tcp { name, address: None } => name == "localhost",
        }
    }

    /// Returns the host name used in the password file: `localhost` for a socket in a default directory, as in libpq.
    fn name_in_passfile(&self) -> String {
        match self {
            Self::Unix(path) if SOCKET_DIRECTORIES.iter().any(|d| Path::new(d) == path) => {
                "localhost".to_owned()
            }
            Self::Unix(path) => path.display().to_string(),
            Self::Tcp { name, .. } => name.clone(),
        }
    }
}

impl fmt::Display for Endpoint {
    /// Formats as `host:port`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Unix(path) => write!(f, "{}:{}", path.display(), self.port),
            Host::Tcp { name, .. } if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            Host::Tcp { name, .. } => write!(f, "{name}:{}", self.port),
        }
    }
}

impl ConnInfo {
    /// Resolves a connection string. Reads the service file, the password file and TLS files, and contacts no server.
    ///
    /// # Errors
    /// A malformed string, an unknown key, a value out of range, or a file that cannot be read. No message contains a
    /// password.
    pub fn resolve(text: &Secret, environment: &Environment) -> Result<Self> {
        let settings = Settings::gather(text.expose(), environment)?;
        let user = settings
            .get("user")
            .or(environment.user())
            .ok_or_else(|| {
                invalid("no user is given").hint("Add user= to the connection string, or set PGUSER.")
            })?
            .to_owned();
        let dbname = settings.get("dbname").unwrap_or(&user).to_owned();
        let mut info = Self {
            endpoints: Vec::new(),
            user,
            dbname,
            options: settings.get("options").map(str::to_owned),
            connect_timeout: connect_timeout(&settings)?,
            target: target_session(&settings)?,
            channel_binding: channel_binding(&settings)?,
            notes: settings.notes.clone(),
        };
        let places = hosts(&settings)?;
        let modes = places.iter().map(|(host, _)| ssl_mode(&settings, host)).collect::<Result<Vec<_>>>()?;
        let passfile = info.open_passfile(&settings, environment);
        let tls_options = tls_options(&settings, environment)?;
        for ((host, port), mode) in places.into_iter().zip(modes) {
            let mode = if matches!(host, Host::Unix(_)) { SslMode::Disable } else { mode };
            let tls = Tls::new(mode, &tls_options)?;
            let (password, password_from) = info.password(&settings, &passfile, &host, port);
            info.endpoints.push(Endpoint { host, port, tls, password, password_from });
        }
        Ok(info)
    }

    /// Returns `host:port/database` for messages and state, without user and password.
    #[must_use]
    pub fn label(&self) -> String {
        let hosts: Vec<String> = self.endpoints.iter().map(ToString::to_string).collect();
        format!("{}/{}", hosts.join(","), self.dbname)
    }

    /// Returns the same for one of the hosts.
    pub(super) fn label_of(&self, endpoint: &Endpoint) -> String {
        format!("{endpoint}/{}", self.dbname)
    }

    fn open_passfile(&mut self, settings: &Settings, environment: &Environment) -> PassFile {
        let own = settings.get("passfile").map(PathBuf::from);
        let Some(path) = own.or_else(|| environment.in_home(".pgpass")) else { return PassFile::default() };
        let (file, complaint) = PassFile::open(&path);
        if let Some(complaint) = complaint {
            tracing::warn!("{complaint}");
            self.notes.push(complaint);
        }
        file
    }

    fn password(
        &self,
        settings: &Settings,
        file: &PassFile,
        host: &Host,
        port: u16,
    ) -> (Option<Secret>, String) {
        if let Some((password, origin)) = settings.get_with_origin("password") {
            return (Some(Secret::new(password.to_owned())), origin.to_owned());
        }
        match file.find(&host.name_in_passfile(), port, &self.dbname, &self.user) {
            Some(found) => (Some(found.password), found.place),
            None => (None, String::new()),
        }
    }
}

/// Returns an error about a connection string.
fn invalid(message: impl Into<String>) -> Error {
    Error::new(Phase::Config, Kind::Config, message)
}

/// Returns hosts and ports: parallel lists, where a single port applies to all hosts.
fn hosts(settings: &Settings) -> Result<Vec<(Host, u16)>> {
    let list = |key| settings.get(key).map(|text| text.split(',').map(str::trim).collect::<Vec<_>>());
    let (names, addresses) = (list("host"), list("hostaddr"));
    let count = names.as_ref().or(addresses.as_ref()).map_or(1, Vec::len);
    if addresses.as_ref().is_some_and(|addresses| addresses.len() != count) {
        return Err(invalid("host and hostaddr have different numbers of entries"));
    }
    let ports = list("port").unwrap_or_else(|| vec![""]);
    if ports.len() != 1 && ports.len() != count {
        return Err(invalid(format!("there are {} ports for {count} hosts", ports.len())));
    }
    (0..count)
        .map(|n| {
            let port = port(ports[if ports.len() == 1 { 0 } else { n }])?;
            let name = names.as_ref().map_or("", |names| names[n]);
            let address = addresses.as_ref().map_or("", |addresses| addresses[n]);
            Ok((host(name, address, port)?, port))
        })
        .collect()
}

fn host(name: &str, address: &str, port: u16) -> Result<Host> {
    if !address.is_empty() {
        let address: IpAddr = address
            .parse()
            .map_err(|_| invalid("hostaddr is not an IP address").hint("Host names belong in host."))?;
        let name = if name.is_empty() { address.to_string() } else { name.to_owned() };
        return Ok(Host::Tcp { name, address: Some(address) });
    }
    if name.starts_with('/') {
        return Ok(Host::Unix(name.into()));
    }
    if name.starts_with('@') {
        return Err(invalid("abstract Unix sockets are not supported"));
    }
    if name.is_empty() {
        return Ok(Host::Unix(default_socket_directory(port)));
    }
    Ok(Host::Tcp { name: name.to_owned(), address: name.parse().ok() })
}

/// Returns the default directory that has the socket, else one that exists.
fn default_socket_directory(port: u16) -> PathBuf {
    let [usual, original] = SOCKET_DIRECTORIES.map(PathBuf::from);
    let socket = format!(".s.PGSQL.{port}");
    if usual.join(&socket).exists() || (usual.is_dir() && !original.join(&socket).exists()) {
        usual
    } else {
        original
    }
}

/// Parses a port. Errors do not quote the text: in a malformed URI it may be a password.
fn port(text: &str) -> Result<u16> {
    if text.is_empty() {
        return Ok(5432);
    }
    text.parse().ok().filter(|&port| port > 0).ok_or_else(|| {
        invalid("the port is not a number from 1 to 65535").hint(
            "If the URL contains a user and password, percent-encode their special characters: %40 for @, %2F \
             for /.",
        )
    })
}

/// Returns the TLS mode. Plain text to another machine is never the default.
fn ssl_mode(settings: &Settings, host: &Host) -> Result<SslMode> {
    match settings.get("sslmode") {
        Some(text) => SslMode::parse(text).ok_or_else(|| {
            invalid(format!("unknown sslmode={text}"))
                .hint("Use disable, prefer, require, verify-ca or verify-full.")
        }),
        None if settings.get("sslrootcert") == Some("system") => Ok(SslMode::VerifyFull),
        None if host.is_local() => Ok(SslMode::Prefer),
        None => Ok(SslMode::Require),
    }
}

fn tls_options(settings: &Settings, environment: &Environment) -> Result<Options> {
    let existing =
        |name: &str| environment.in_home(Path::new(".postgresql").join(name)).filter(|path| path.exists());
    let roots = match settings.get("sslrootcert") {
        Some("system") => Roots::System,
        Some(path) => Roots::File(path.into()),
        None => existing("root.crt").map_or(Roots::None, Roots::File),
    };
    let certificate = settings.get("sslcert").map(PathBuf::from).or_else(|| existing("postgresql.crt"));
    let key = settings.get("sslkey").map(PathBuf::from).or_else(|| existing("postgresql.key"));
    let client = match (certificate, key, settings.get("sslcertmode")) {
        (.., Some("disable")) | (None, ..) => None,
        (Some(certificate), Some(key), _) => Some(ClientCertificate { certificate, key }),
        (Some(certificate), None, _) => {
            return Err(invalid(format!("no key is given for certificate {}", certificate.display()))
                .hint("Add sslkey=FILE, or place the key in ~/.postgresql/postgresql.key."));
        }
    };
    let choice = |key: &str, default, options: &[(&str, bool)]| match settings.get(key) {
        None => Ok(default),
        Some(text) => {
            options.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
                let names: Vec<&str> = options.iter().map(|(name, _)| *name).collect();
                invalid(format!("unknown {key}={text}")).hint(format!("Use {}.", names.join(" or ")))
            })
        }
    };
    let (old, v12, v13) = (["TLSv1", "TLSv1.1"], "TLSv1.2", "TLSv1.3");
    Ok(Options {
        roots,
        client,
        direct: choice("sslnegotiation", false, &[("postgres", false), ("direct", true)])?,
        sni: choice("sslsni", true, &[("0", false), ("1", true)])?,
        only_13: choice(
            "ssl_min_protocol_version",
            false,
            &[(old[0], false), (old[1], false), (v12, false), (v13, true)],
        )?,
        only_12: choice("ssl_max_protocol_version", false, &[(v12, true), (v13, false)])?,
    })
}

/// Returns the timeout in seconds. Zero or less means no limit, as in libpq.
fn connect_timeout(settings: &Settings) -> Result<Option<Duration>> {
    let Some(text) = settings.get("connect_timeout") else { return Ok(None) };
    let seconds: i64 =
        text.trim().parse().map_err(|_| invalid("connect_timeout is not a whole number of seconds"))?;
    Ok(Some(u64::try_from(seconds).ok().filter(|&s| s > 0).map_or(Duration::MAX, Duration::from_secs)))
}

fn target_session(settings: &Settings) -> Result<TargetSession> {
    Ok(match settings.get("target_session_attrs") {
        None | Some("any") => TargetSession::Any,
        Some("read-write") => TargetSession::ReadWrite,
        Some("read-only") => TargetSession::ReadOnly,
        Some("primary") => TargetSession::Primary,
        Some("standby") => TargetSession::Standby,
        Some("prefer-standby") => TargetSession::PreferStandby,
        Some(other) => {
            return Err(invalid(format!("unknown target_session_attrs={other}"))
                .hint("Use any, read-write, read-only, primary, standby or prefer-standby."));
        }
    })
}

fn channel_binding(settings: &Settings) -> Result<tokio_postgres::config::ChannelBinding> {
    use tokio_postgres::config::ChannelBinding;
    Ok(match settings.get("channel_binding") {
        None | Some("prefer") => ChannelBinding::Prefer,
        Some("disable") => ChannelBinding::Disable,
        Some("require") => ChannelBinding::Require,
        Some(other) => {
            return Err(
                invalid(format!("unknown channel_binding={other}")).hint("Use disable, prefer or require.")
            );
        }
    })
}

#[cfg(test)]
mod tests;
