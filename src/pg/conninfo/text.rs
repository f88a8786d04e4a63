//! Parses a connection string, URI or key=value, into keys and values (PostgreSQL manual, 34.1.1).
//!
//! No message here quotes the string: in a malformed string any part may be the password.

use super::invalid;
use crate::error::Result;

/// Keys and values in their order, not yet checked.
pub(super) type Pairs = Vec<(String, String)>;

/// Parses either form. An empty string has no pairs, so everything comes from the environment.
pub(super) fn split(text: &str) -> Result<Pairs> {
    let text = text.trim();
    match ["postgresql://", "postgres://"].iter().find_map(|scheme| text.strip_prefix(scheme)) {
        Some(rest) => split_uri(rest),
        None if text.contains("://") => Err(invalid("the connection string is not a PostgreSQL URI")
            .hint("It must begin with postgres:// or postgresql://.")),
        None => split_words(text),
    }
}

/// Parses `[user[:password]@][host[:port],…][/dbname][?key=value&…]`, without the scheme.
fn split_uri(rest: &str) -> Result<Pairs> {
    let mut pairs = Pairs::new();
    let (rest, query) = match rest.find('@').filter(|&at| !rest[..at].contains('/')) {
        // A password may contain a question mark, so the query begins after the credentials.
        Some(at) => {
            credentials(&rest[..at], &mut pairs)?;
            cut(&rest[at + 1..], '?')
        }
        None => cut(rest, '?'),
    };
    if rest.contains('@') {
        return Err(invalid("the connection string has a misplaced @").hint(
            "Percent-encode special characters in the user and password: %40 for @, %2F for /, %3A for :, %25 \
             for %.",
        ));
    }
    let (hosts, dbname) = cut(rest, '/');
    self::hosts(hosts, &mut pairs)?;
    if let Some(dbname) = dbname {
        pairs.push(("dbname".to_owned(), decode(dbname, "database name")?));
    }
    for parameter in query.into_iter().flat_map(|query| query.split('&')).filter(|p| !p.is_empty()) {
        let (key, value) = parameter.split_once('=').ok_or_else(|| {
            invalid("a parameter after the ? of the connection string has no =")
                .hint("Parameters are written ?key=value&key=value.")
        })?;
        pairs.push((decode(key, "parameter")?, decode(value, "parameter")?));
    }
    Ok(pairs)
}

fn credentials(text: &str, pairs: &mut Pairs) -> Result<()> {
    let (user, password) = cut(text, ':');
    pairs.push(("user".to_owned(), decode(user, "user")?));
    if let Some(password) = password {
        pairs.push(("password".to_owned(), decode(password, "password")?));
    }
    Ok(())
}

/// Splits the comma-separated list into two parallel lists, `host` and `port`.
fn hosts(text: &str, pairs: &mut Pairs) -> Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for part in text.split(',') {
        let (name, port) = match part.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest
                    .split_once(']')
                    .ok_or_else(|| invalid("an IPv6 address in the connection string lacks its closing ]"))?;
                match after.strip_prefix(':') {
                    Some(port) => (address, port),
                    None if after.is_empty() => (address, ""),
                    None => return Err(invalid("only :port may follow the ] of an IPv6 address")),
                }
            }
            None => {
                let (name, port) = cut(part, ':');
                (name, port.unwrap_or_default())
            }
        };
        names.push(decode(name, "host")?);
        ports.push(decode(port, "port")?);
    }
    pairs.push(("host".to_owned(), names.join(",")));
    if ports.iter().any(|port| !port.is_empty()) {
        pairs.push(("port".to_owned(), ports.join(",")));
    }
    Ok(())
}

fn cut(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

/// Percent-decodes a part. `+` does not mean a space, as in libpq.
fn decode(text: &str, part: &str) -> Result<String> {
    let bad = || {
        invalid(format!("the {part} in the connection string has a % that is not followed by two hex digits"))
            .hint("Write %25 for a literal %.")
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = after.get(..2).filter(|d| d.iter().all(u8::is_ascii_hexdigit)).ok_or_else(bad)?;
        let digits = std::str::from_utf8(digits).map_err(|_| bad())?;
        match u8::from_str_radix(digits, 16) {
            Ok(0) | Err(_) => return Err(bad()),
            Ok(byte) => bytes.push(byte),
        }
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| {
        invalid(format!("the {part} in the connection string is not valid UTF-8 after decoding"))
    })
}

/// Parses `key = value` pairs. A value with spaces is in single quotes; `\` escapes one character.
fn split_words(text: &str) -> Result<Pairs> {
    let mut pairs = Pairs::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Ok(pairs);
        }
        let mut key = String::new();
        while let Some(c) = chars.next_if(|&c| c != '=' && !c.is_whitespace()) {
            key.push(c);
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.next_if_eq(&'=').is_none() {
            return Err(no_equals_sign(&pairs));
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let value = word_value(&mut chars)?;
        pairs.push((key, value));
    }
}

fn word_value(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String> {
    let quoted = chars.next_if_eq(&'\'').is_some();
    let mut value = String::new();
    loop {
        match chars.next() {
            Some('\'') if quoted => return Ok(value),
            Some('\\') => value.extend(chars.next()),
            Some(c) if !quoted && c.is_whitespace() => return Ok(value),
            Some(c) => value.push(c),
            None if quoted => {
                return Err(invalid(
                    "a quoted value in the connection string lacks its closing single quote",
                ));
            }
            None => return Ok(value),
        }
    }
}

fn no_equals_sign(before: &Pairs) -> crate::Error {
    match before.last() {
        None => invalid("the connection string is neither a URI nor key=value pairs")
            .hint("Write postgres://user@host:5432/database or host=… port=… dbname=… user=…."),
        Some((key, _)) => {
            invalid(format!("the text after the value of {key} in the connection string is not key=value"))
                .hint("Put a value that contains spaces in single quotes. Write \\' and \\\\ inside.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        split(text).unwrap()
    }

    fn owned(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    #[test]
    fn a_uri_is_taken_apart_as_libpq_does() {
        assert_eq!(
            pairs(
                "postgresql://me:s%40c%2F%25@db.example.com:6000/my%20db?sslmode=require&options=-c%20a%3Db"
            ),
            owned(&[
                ("user", "me"),
                ("password", "s@c/%"),
                ("host", "db.example.com"),
                ("port", "6000"),
                ("dbname", "my db"),
                ("sslmode", "require"),
                ("options", "-c a=b"),
            ])
        );
        assert_eq!(pairs("postgres://"), owned(&[]));
        assert_eq!(pairs("postgres:///db?host=/run"), owned(&[("dbname", "db"), ("host", "/run")]));
        assert_eq!(
            pairs("postgres://a:1,[::1]:2,%2Frun%2Fpg/"),
            owned(&[("host", "a,::1,/run/pg"), ("port", "1,2,"), ("dbname", "")])
        );
        assert_eq!(pairs("postgres://u:a?b@h")[1].1, "a?b");
    }

    #[test]
    fn quoted_values_keep_spaces_and_escaped_quotes() {
        assert_eq!(
            pairs(r"host=h password='a \'b\\ c' user = me\ too dbname=''"),
            owned(&[("host", "h"), ("password", r"a 'b\ c"), ("user", "me too"), ("dbname", "")])
        );
    }

    #[test]
    fn a_malformed_string_is_refused_without_quoting_it() {
        for text in [
            "postgres://me:s3cret@x@host/db",
            "postgres://me:s3cret/x@host/db",
            "postgres://me:s3cret%zz@host/db",
            "postgres://me:s3cret%@host/db",
            "postgres://me:s3cret%00@host/db",
            "host=h password=s3cret s3cret",
            "host=h password='s3cret",
            "s3cret",
            "mysql://me:s3cret@host/db",
            "postgres://me:s3cret@[::1/db",
            "postgres://me:s3cret@h/db?s3cret",
        ] {
            let error = split(text).unwrap_err();
            let all = format!("{error} {error:?} {:?}", error.advice());
            assert!(!all.contains("s3cret"), "{all}");
        }
    }
}
