//! Secrets, by reference.
//!
//! A topology file is read by many and kept in histories, so it names where a secret is rather than the secret:
//!
//! ```yaml
//! password: { secret: { env: MQTT_PASSWORD } }
//! password: { secret: { file: /run/secrets/mqtt } }
//! ```
//!
//! A field that is itself called `secret` takes the inner mapping: `secret: { env: MQTT_PASSWORD }`. A spec holds only
//! the reference; the value exists from the moment a component is built, as a [`SecretValue`], which does not print.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::{Deserializer, Visitor};
use thiserror::Error;

use crate::stage::BuildError;

use super::decode::SECRET;

/// Where a secret is to be found.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(Reference);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Reference {
    Env(String),
    File(PathBuf),
}

/// The value of a secret. It prints as `<secret>`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(String);

/// Why a secret cannot be had. Says where it was looked for, never what was found.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The environment variable is not set.
    #[error("the secret's environment variable `{name}` is not set")]
    Unset {
        /// The variable.
        name: String,
    },
    /// The file cannot be read.
    #[error("cannot read the secret's file `{}`: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// There is nothing in it.
    #[error("{from} holds an empty secret")]
    Empty {
        /// The variable or file.
        from: String,
    },
}

/// A variable stays as it is for as long as the process lives; a file may be there later.
impl From<SecretError> for BuildError {
    fn from(error: SecretError) -> Self {
        match &error {
            SecretError::Unset { .. } => BuildError::Impossible(error.to_string()),
            SecretError::Unreadable { .. } | SecretError::Empty { .. } => BuildError::Unavailable(error.to_string()),
        }
    }
}

impl Secret {
    /// The value of an environment variable.
    pub fn env(name: impl Into<String>) -> Self {
        Secret(Reference::Env(name.into()))
    }

    /// The content of a file, without the line end at its end.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Secret(Reference::File(path.into()))
    }

    /// Fetches the value. Done when a component is built, so that a rotated secret is seen at its next start.
    ///
    /// # Errors
    /// When the variable is not set, the file cannot be read, or there is nothing in it.
    pub fn resolve(
        &self,
        env: &dyn Fn(&str) -> Option<String>,
        read_file: &dyn Fn(&Path) -> io::Result<String>,
    ) -> Result<SecretValue, SecretError> {
        let (value, from) = match &self.0 {
            Reference::Env(name) => {
                let value = env(name).ok_or_else(|| SecretError::Unset { name: name.clone() })?;
                (value, format!("environment variable `{name}`"))
            }
            Reference::File(path) => {
                let content = read_file(path).map_err(|error| SecretError::Unreadable { path: path.clone(), error })?;
                (content.trim_end_matches(['\n', '\r']).to_owned(), format!("file `{}`", path.display()))
            }
        };
        if value.is_empty() { Err(SecretError::Empty { from }) } else { Ok(SecretValue(value)) }
    }
}

impl SecretValue {
    /// The value itself, for the library that needs it. Never to be printed.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

macro_rules! prints_nothing {
    ($($type:ty)*) => {
        $(
            impl fmt::Debug for $type {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("<secret>")
                }
            }

            impl fmt::Display for $type {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("<secret>")
                }
            }
        )*
    };
}

prints_nothing! { Secret SecretValue }

/// The forms in a file.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Written {
    /// The value of an environment variable.
    Env(String),
    /// The content of a file, without the line end at its end.
    File(PathBuf),
    /// A reference to a secret.
    #[serde(deserialize_with = "reference")]
    Secret(WrittenReference),
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum WrittenReference {
    /// The value of an environment variable.
    Env(String),
    /// The content of a file, without the line end at its end.
    File(PathBuf),
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Secret(match reference::<Written, D>(deserializer)? {
            Written::Env(name) | Written::Secret(WrittenReference::Env(name)) => Reference::Env(name),
            Written::File(path) | Written::Secret(WrittenReference::File(path)) => Reference::File(path),
        }))
    }
}

/// Reads what should be a reference, and may by mistake be the secret: an error then does not repeat it.
fn reference<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct ReferenceVisitor<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for ReferenceVisitor<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a reference to a secret")
        }

        fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
            T::deserialize(deserializer)
        }
    }

    deserializer.deserialize_newtype_struct(SECRET, ReferenceVisitor(PhantomData))
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Written::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(secret: &Secret) -> Result<SecretValue, SecretError> {
        let env = |name: &str| (name == "SET").then(|| "from-env".to_owned());
        let read = |path: &Path| match path.to_str() {
            Some("/pw") => Ok("from-file\n".to_owned()),
            Some("/empty") => Ok("\n".to_owned()),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        secret.resolve(&env, &read)
    }

    #[test]
    fn a_secret_is_found_by_its_reference() {
        assert_eq!(resolve(&Secret::env("SET")).expect("it is right").expose(), "from-env");
        assert_eq!(resolve(&Secret::file("/pw")).expect("it is right").expose(), "from-file");
        for (secret, message) in [
            (Secret::env("UNSET"), "the secret's environment variable `UNSET` is not set"),
            (Secret::file("/none"), "cannot read the secret's file `/none`: entity not found"),
            (Secret::file("/empty"), "file `/empty` holds an empty secret"),
        ] {
            assert_eq!(resolve(&secret).expect_err("it is wrong").to_string(), message);
        }
    }

    #[test]
    fn nothing_prints_it() {
        let value = resolve(&Secret::env("SET")).expect("it is right");
        assert_eq!(
            format!("{value} {value:?} {} {:?}", Secret::env("SET"), Secret::file("/pw")),
            ["<secret>"; 4].join(" ")
        );
    }
}
