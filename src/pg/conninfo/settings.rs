//! The layers of connection settings, combined by precedence.

use std::collections::BTreeMap;

use super::{Environment, keys, service, text};
use crate::error::Result;

/// Keys whose value belongs to a single host.
const BOUND_TO_A_HOST: [&str; 2] = ["password", "hostaddr"];

/// Values by key, each with its origin.
pub(super) struct Settings {
    values: BTreeMap<&'static str, (String, String)>,
    /// Values that were left out because they belong to another host.
    pub(super) notes: Vec<String>,
}

impl Settings {
    /// Combines string, service and environment; the first that has a key wins.
    pub(super) fn gather(connection_string: &str, environment: &Environment) -> Result<Self> {
        let mut settings = Self { values: BTreeMap::new(), notes: Vec::new() };
        let place = "the connection string";
        settings.add(keys::judge(text::split(connection_string)?, place)?, |_| place.to_owned());

        // A service that the string names belongs to the string; one that PGSERVICE names belongs to the environment.
        let variables = keys::from_environment(environment)?;
        let from = |key: &str| variables.iter().find(|(k, _)| *k == key).map(|(_, value)| value.as_str());
        let named_here = settings.get("service").is_some();
        if let Some(name) = settings.get("service").or(from("service")).map(str::to_owned) {
            let file = settings.get("servicefile").or(from("servicefile"));
            let place = format!("service {name:?}");
            let pairs = keys::judge(service::look_up(&name, file, environment)?, &place)?;
            if named_here {
                settings.add(pairs, |_| place.clone());
            } else {
                settings.add_if_for_this_host(pairs, |_| place.clone());
            }
        }
        settings.add_if_for_this_host(variables, variable_of);
        Ok(settings)
    }

    /// Returns the value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(|(value, _)| value.as_str())
    }

    /// Returns all values by key.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.values.iter().map(|(key, (value, _))| (*key, value.as_str()))
    }

    /// Returns the value of a key and its origin.
    pub(super) fn get_with_origin(&self, key: &str) -> Option<(&str, &str)> {
        self.values.get(key).map(|(value, origin)| (value.as_str(), origin.as_str()))
    }

    /// Adds a layer. Within a layer the last occurrence of a key counts, as in libpq.
    fn add(&mut self, layer: Vec<(&'static str, String)>, origin: impl Fn(&str) -> String) {
        let layer: BTreeMap<_, _> = layer.into_iter().collect();
        for (key, value) in layer {
            self.values.entry(key).or_insert_with(|| (value, origin(key)));
        }
    }

    /// Adds a layer that the string did not ask for. If the host is already decided and differs from the layer's, values that
    /// belong to the layer's own host are left out.
    fn add_if_for_this_host(
        &mut self,
        mut layer: Vec<(&'static str, String)>,
        origin: impl Fn(&str) -> String,
    ) {
        let theirs = layer.iter().rev().find(|(key, _)| *key == "host").map(|(_, host)| host.clone());
        let host_is_decided = self.get("host").is_some() || self.get("hostaddr").is_some();
        if host_is_decided && (theirs.is_none() || theirs.as_deref() != self.get("host")) {
            if self.get("password").is_none() && layer.iter().any(|(key, _)| *key == "password") {
                self.notes.push(format!(
                    "the password of {} was not used: it belongs to another host than the connection string \
                     names",
                    origin("password")
                ));
            }
            layer.retain(|(key, _)| !BOUND_TO_A_HOST.contains(key));
        }
        self.add(layer, origin);
    }
}

/// Returns the environment variable of a key.
fn variable_of(key: &str) -> String {
    keys::variable_of(key).unwrap_or(key).to_owned()
}
