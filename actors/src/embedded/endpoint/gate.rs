//! Who a client is: proved by a password, by a certificate, or by both where both are asked for.
//!
//! A device's name is one thing everywhere: its client id, its user name, the name in its certificate, and the level of
//! its topics. So no device can take over another one's session either.

use std::collections::HashMap;
use std::sync::Arc;

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use telemill_engine::device_id::DeviceId;
use telemill_engine::stage::BuildError;
use telemill_engine::topology::Secret;
use tokio::sync::Semaphore;

use super::access::Access;
use super::wire::{Code, Connect};

/// How many passwords are verified at a time: each takes memory and a core, by design.
const AT_ONCE: usize = 2;

/// Takes as long to verify as a password of a user that exists, and is nobody's.
const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$dGVsZW1pbGxkZWNveQ$RC4hYOZK5TqD3xwZ0sGUhWFQFC6aRJ3bxxB3w3YNL0M";

/// Who may come in.
pub(crate) struct Gate {
    users: Option<Arc<HashMap<DeviceId, String>>>,
    certificates: bool,
    verifying: Semaphore,
}

impl Gate {
    /// Reads the users, where there are any. `certificates`: whether TLS has verified every client's certificate.
    pub(crate) fn open(users: Option<&Secret>, certificates: bool) -> Result<Self, BuildError> {
        let users = match users {
            None => None,
            Some(users) => {
                let text = users.resolve(&|name| std::env::var(name).ok(), &|path| std::fs::read_to_string(path));
                Some(Arc::new(parse(text?.expose()).map_err(BuildError::Impossible)?))
            }
        };
        Ok(Gate { users, certificates, verifying: Semaphore::new(AT_ONCE) })
    }

    /// Who a client is. `certified`: the names in its certificate.
    ///
    /// # Errors
    /// With the answer for a client that did not prove who it is.
    pub(crate) async fn identify(&self, connect: &mut Connect, certified: &[String]) -> Result<Access, Code> {
        if self.users.is_none() && !self.certificates {
            return Ok(Access::Anyone);
        }
        let device = DeviceId::new(connect.client_id.as_bytes()).map_err(|_| Code::CLIENT_ID_INVALID)?;
        if self.certificates && !certified.iter().any(|name| name == device.as_str()) {
            return Err(Code::NOT_AUTHORIZED);
        }
        if let Some(users) = &self.users {
            let (Some(user), Some(password)) = (connect.user.take(), connect.password.take()) else {
                return Err(Code::BAD_LOGIN);
            };
            if user != device.as_str() {
                return Err(Code::CLIENT_ID_INVALID);
            }
            let hash = users.get(&device).cloned();
            // Never closed.
            let _permit = self.verifying.acquire().await.map_err(|_| Code::SERVER_UNAVAILABLE)?;
            let known = tokio::task::spawn_blocking(move || verify(hash.as_deref(), &password)).await;
            if !known.unwrap_or(false) {
                return Err(Code::BAD_LOGIN);
            }
        }
        Ok(Access::Device(device))
    }
}

fn verify(hash: Option<&str>, password: &[u8]) -> bool {
    let right = |hash: &str| {
        PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
    };
    match hash {
        Some(hash) => right(hash),
        None => {
            right(DECOY);
            false
        }
    }
}

/// Reads lines of `device:hash`; empty ones and those that begin with `#` mean nothing.
///
/// # Errors
/// Says which line is wrong, and nothing of what stands in it.
fn parse(text: &str) -> Result<HashMap<DeviceId, String>, String> {
    let mut users = HashMap::new();
    let lines = text.lines().map(str::trim).enumerate();
    for (index, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let wrong = |what: &str| format!("line {} of the endpoint's users {what}", index + 1);
        // A device id may have colons in it; a hash begins with a dollar sign and has none.
        let (device, hash) = line.rsplit_once(':').ok_or_else(|| wrong("is not `device:hash`"))?;
        let device = DeviceId::new(device.as_bytes()).map_err(|_| wrong("does not begin with a device id"))?;
        let is_argon2 = |hash: PasswordHash<'_>| hash.algorithm.as_str().starts_with("argon2") && hash.hash.is_some();
        if !PasswordHash::new(hash).is_ok_and(is_argon2) {
            return Err(wrong("does not end in an Argon2 hash, such as `$argon2id$v=19$m=19456,t=2,p=1$…$…`"));
        }
        if users.insert(device, hash.to_owned()).is_some() {
            return Err(wrong("names a device that stands further above already"));
        }
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_decoy_is_a_hash_that_is_verified() {
        let hash = PasswordHash::new(DECOY).unwrap();
        assert!(matches!(Argon2::default().verify_password(b"", &hash), Err(argon2::password_hash::Error::Password)));
    }

    #[test]
    fn users_are_read_line_by_line() {
        let text = format!("# fleet\n\nd1:{DECOY}\n  a:b:{DECOY}  \n");
        let users = parse(&text).unwrap();
        let mut names: Vec<_> = users.keys().map(DeviceId::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["a:b", "d1"]);
    }

    #[test]
    fn a_wrong_line_is_named_and_not_shown() {
        let check = |text: &str, says: &str| {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says) && !error.contains("hunter2"), "{error}");
        };
        check("hunter2", "line 1 of the endpoint's users is not `device:hash`");
        check("\nd1:hunter2", "line 2 of the endpoint's users does not end in an Argon2 hash");
        check("d 1 hunter2:$argon2id$", "does not begin with a device id");
        check(
            &format!("d1:{DECOY}\nd1:{DECOY}"),
            "line 2 of the endpoint's users names a device that stands further above",
        );
        check("d1:$argon2id$v=19$m=19456,t=2,p=1$dGVsZW1pbGxkZWNveQ", "Argon2");
        check("d1:$pbkdf2-sha256$i=1$c2FsdHNhbHQ$aGFzaGhhc2g", "Argon2");
    }
}
