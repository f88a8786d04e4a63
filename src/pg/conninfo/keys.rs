//! The keys of libpq (PostgreSQL manual, 34.1.2) and their treatment here.

use super::text::Pairs;
use super::{Environment, invalid};
use crate::error::Result;

/// The treatment of a key.
enum Use {
    /// It has an effect.
    Used,
    /// It is accepted without effect: we set this ourselves, or it does not apply.
    NoEffect,
    /// Ignoring it would weaken the user's request, except for the allowed values.
    Refused { allowed: &'static [&'static str] },
}
use Use::{NoEffect, Refused, Used};

/// The key, its environment variable, and its treatment.
const KEYS: &[(&str, Option<&str>, Use)] = &[
    ("service", Some("PGSERVICE"), Used),
    ("servicefile", Some("PGSERVICEFILE"), Used),
    ("host", Some("PGHOST"), Used),
    ("hostaddr", Some("PGHOSTADDR"), Used),
    ("port", Some("PGPORT"), Used),
    ("dbname", Some("PGDATABASE"), Used),
    ("user", Some("PGUSER"), Used),
    ("password", Some("PGPASSWORD"), Used),
    ("passfile", Some("PGPASSFILE"), Used),
    ("options", Some("PGOPTIONS"), Used),
    ("connect_timeout", Some("PGCONNECT_TIMEOUT"), Used),
    ("target_session_attrs", Some("PGTARGETSESSIONATTRS"), Used),
    ("channel_binding", Some("PGCHANNELBINDING"), Used),
    ("sslmode", Some("PGSSLMODE"), Used),
    ("sslnegotiation", Some("PGSSLNEGOTIATION"), Used),
    ("sslrootcert", Some("PGSSLROOTCERT"), Used),
    ("sslcert", Some("PGSSLCERT"), Used),
    ("sslkey", Some("PGSSLKEY"), Used),
    ("sslcertmode", Some("PGSSLCERTMODE"), Used),
    ("sslsni", Some("PGSSLSNI"), Used),
    ("ssl_min_protocol_version", Some("PGSSLMINPROTOCOLVERSION"), Used),
    ("ssl_max_protocol_version", Some("PGSSLMAXPROTOCOLVERSION"), Used),
    ("application_name", None, NoEffect),
    ("fallback_application_name", None, NoEffect),
    ("client_encoding", None, NoEffect),
    ("keepalives", None, NoEffect),
    ("keepalives_idle", None, NoEffect),
    ("keepalives_interval", None, NoEffect),
    ("keepalives_count", None, NoEffect),
    ("tcp_user_timeout", None, NoEffect),
    ("load_balance_hosts", None, NoEffect),
    ("sslcompression", None, NoEffect),
    ("krbsrvname", None, NoEffect),
    ("gsslib", None, NoEffect),
    ("gssdelegation", None, NoEffect),
    ("min_protocol_version", None, NoEffect),
    ("max_protocol_version", None, NoEffect),
    ("gssencmode", Some("PGGSSENCMODE"), Refused { allowed: &["disable", "prefer"] }),
    ("require_auth", Some("PGREQUIREAUTH"), Refused { allowed: &[] }),
    ("requirepeer", Some("PGREQUIREPEER"), Refused { allowed: &[] }),
    ("sslcrl", Some("PGSSLCRL"), Refused { allowed: &[] }),
    ("sslcrldir", Some("PGSSLCRLDIR"), Refused { allowed: &[] }),
    ("sslpassword", None, Refused { allowed: &[] }),
    ("replication", None, Refused { allowed: &["0", "off", "false", "no"] }),
];

/// Checks pairs given by the user: every key must be known, and only those with an effect are returned.
///
/// `place` names their origin, for messages. Empty values count as not given.
pub(super) fn judge(pairs: Pairs, place: &str) -> Result<Vec<(&'static str, String)>> {
    let mut judged = Vec::with_capacity(pairs.len());
    let mut after_password = false;
    for (key, value) in pairs {
        let is_password = key == "password";
        match admit(&key, value, place) {
            Some(outcome) => judged.extend(outcome?),
            None => return Err(unknown(&key, place, after_password)),
        }
        after_password = is_password;
    }
    Ok(judged)
}

/// Returns the values that the environment has for keys with an effect. Refused keys are checked as everywhere.
pub(super) fn from_environment(environment: &Environment) -> Result<Vec<(&'static str, String)>> {
    let mut found = Vec::new();
    for (key, variable, _) in KEYS {
        let Some(variable) = variable else { continue };
        let Some(value) = environment.variable(variable) else { continue };
        if let Some(outcome) = admit(key, value.to_owned(), variable) {
            found.extend(outcome?);
        }
    }
    Ok(found)
}

/// Returns the environment variable of a key.
pub(super) fn variable_of(key: &str) -> Option<&'static str> {
    KEYS.iter().find(|(name, ..)| *name == key).and_then(|(_, variable, _)| *variable)
}

/// Returns `None` for an unknown key, `Some(Ok(None))` for a key without effect.
fn admit(key: &str, value: String, place: &str) -> Option<Result<Option<(&'static str, String)>>> {
    // Two older spellings: JDBC's in URIs, and libpq's from before sslmode.
    if (key == "ssl" && value == "true") || (key == "requiressl" && value == "1") {
        return Some(Ok(Some(("sslmode", "require".to_owned()))));
    }
    if key == "requiressl" {
        return Some(Ok(None));
    }
    let (name, _, rule) = KEYS.iter().find(|(name, ..)| *name == key)?;
    if value.is_empty() {
        return Some(Ok(None));
    }
    Some(match rule {
        Used => Ok(Some((*name, value))),
        NoEffect => Ok(None),
        Refused { allowed } if allowed.contains(&value.as_str()) => Ok(None),
        Refused { allowed } => Err(refused(name, allowed, place)),
    })
}

fn refused(name: &str, allowed: &[&str], place: &str) -> crate::Error {
    let hint = if allowed.is_empty() {
        format!("Remove {name}: ignoring it would make the connection less secure than it looks.")
    } else {
        format!("Remove {name}, or set it to {}.", allowed.join(" or "))
    };
    invalid(format!("{place}: {name} is not supported")).hint(hint)
}

/// Returns the error for an unknown key. It is not shown if it may be part of a password that should have been quoted.
fn unknown(key: &str, place: &str, after_password: bool) -> crate::Error {
    let presentable = !key.is_empty()
        && key.len() <= 40
        && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if after_password || !presentable {
        return invalid(format!("{place} has an unknown key")).hint(
            "Check the spelling of the keys. Put a password with special characters in single quotes \
             (key=value form) or percent-encode it (URI).",
        );
    }
    invalid(format!("{place} has the unknown key {key:?}")).hint(match key {
        "schema" | "pgbouncer" | "connection_limit" | "pool_timeout" | "statement_cache_size" | "supa" => {
            "This key belongs to another program. Remove it from the connection string."
        }
        _ => {
            "The keys are those of libpq (PostgreSQL manual, 34.1.2), for example sslmode or \
              connect_timeout."
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge_one(key: &str, value: &str) -> Result<Vec<(&'static str, String)>> {
        judge(vec![(key.to_owned(), value.to_owned())], "the connection string")
    }

    #[test]
    fn an_unknown_key_is_named_unless_it_may_be_a_piece_of_a_password() {
        let error = judge_one("sslmod", "require").unwrap_err();
        assert!(error.message().contains("\"sslmod\""), "{error}");
        let pairs = [("password", "a"), ("b", "c")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let error = judge(pairs.to_vec(), "x").unwrap_err();
        assert!(!error.message().contains("\"b\""), "{error}");
    }

    #[test]
    fn what_would_weaken_security_is_refused_rather_than_ignored() {
        for key in ["require_auth", "requirepeer", "sslcrl", "sslpassword"] {
            assert!(judge_one(key, "x").unwrap_err().message().contains(key));
        }
        assert!(judge_one("gssencmode", "require").is_err());
        assert!(judge_one("gssencmode", "prefer").unwrap().is_empty());
        assert!(judge_one("keepalives_idle", "5").unwrap().is_empty());
    }

    #[test]
    fn older_spellings_of_sslmode_are_understood() {
        assert_eq!(judge_one("ssl", "true").unwrap(), [("sslmode", "require".to_owned())]);
        assert_eq!(judge_one("requiressl", "1").unwrap(), [("sslmode", "require".to_owned())]);
        assert!(judge_one("ssl", "false").is_err());
    }
}
