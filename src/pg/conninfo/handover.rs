//! A connection string for programs that use libpq themselves, such as psql.

use super::settings::Settings;
use super::{ConnInfo, Environment};
use crate::error::Result;
use crate::pg::secret::Secret;

/// The connection parameters for a program that uses libpq, equivalent to ours. The caller must unset its PG* variables.
#[derive(Debug, Clone)]
pub struct ForLibpq {
    /// `key='value' …` for the command line, which every user of the machine can read: without the password.
    pub conninfo: String,
    /// The value for its PGPASSWORD. `None` if the program finds the same password file as we do, or if there is no password.
    pub password: Option<Secret>,
}

/// The password, and keys that are already resolved.
const LEFT_OUT: [&str; 3] = ["password", "service", "servicefile"];

impl ForLibpq {
    /// Completes a connection string as [`ConnInfo::resolve`] does.
    ///
    /// # Errors
    /// As for [`ConnInfo::resolve`].
    pub fn resolve(text: &Secret, environment: &Environment) -> Result<Self> {
        let settings = Settings::gather(text.expose(), environment)?;
        let mut words: Vec<String> = settings
            .pairs()
            .filter(|(key, _)| !LEFT_OUT.contains(key))
            .map(|(key, value)| format!("{key}={}", quoted(value)))
            .collect();
        // libpq would accept plain text.
        let info = ConnInfo::resolve(text, environment)?;
        if settings.get("sslmode").is_none() && info.endpoints.iter().any(|place| !place.host.is_local()) {
            words.push("sslmode='require'".to_owned());
        }
        let password = settings.get("password").map(|password| Secret::new(password.to_owned()));
        Ok(Self { conninfo: words.join(" "), password })
    }
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed_over(text: &str) -> ForLibpq {
        ForLibpq::resolve(&Secret::new(text.to_owned()), &Environment::new([], None, Some("me".to_owned())))
            .unwrap()
    }

    #[test]
    fn the_password_is_apart_and_the_rest_is_quoted() {
        let given = handed_over("postgresql://a:s3cret@127.0.0.1:5433/it%27s?sslmode=disable");
        assert_eq!(given.conninfo, r"dbname='it\'s' host='127.0.0.1' port='5433' sslmode='disable' user='a'");
        assert_eq!(given.password.unwrap().expose(), "s3cret");
    }

    #[test]
    fn another_machine_is_not_spoken_to_in_plain_text() {
        assert!(handed_over("host=db.example.com user=a").conninfo.ends_with("sslmode='require'"));
        assert!(!handed_over("host=/tmp user=a").conninfo.contains("sslmode"));
        assert!(!handed_over("host=db.example.com user=a sslmode=prefer").conninfo.contains("require"));
    }
}
