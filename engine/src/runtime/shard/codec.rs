//! A session's form in a checkpoint (`docs/formats.md`, "Checkpoints").

use bytes::Bytes;

use crate::clock::LogTime;
use crate::runtime::host::KeyedHost;

const VERSION: u8 = 1;

/// A session taken apart: when its device was last heard of, and each stage's bytes in the order of the meta.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SessionForm<'a> {
    pub(super) last_seen: LogTime,
    pub(super) states: Vec<&'a [u8]>,
}

/// Writes the session in `slot` down.
pub(super) fn encode<'a>(
    last_seen: LogTime,
    slot: u32,
    hosts: impl Iterator<Item = &'a dyn KeyedHost>,
    scratch: &mut Vec<u8>,
) -> Bytes {
    write(last_seen, hosts.map(|host| move |out: &mut Vec<u8>| host.encode(slot, out)), scratch);
    Bytes::copy_from_slice(scratch)
}

fn write<W: FnOnce(&mut Vec<u8>)>(last_seen: LogTime, states: impl Iterator<Item = W>, out: &mut Vec<u8>) {
    out.clear();
    out.push(VERSION);
    out.extend_from_slice(&last_seen.0.to_le_bytes());
    for state in states {
        let length_at = out.len();
        out.extend_from_slice(&[0; 4]);
        state(out);
        let length = (out.len() - length_at - 4) as u32;
        out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }
}

/// Takes a session's form apart.
pub(super) fn decode(bytes: &[u8]) -> Result<SessionForm<'_>, String> {
    let cut = || "session is cut short".to_owned();
    let (version, rest) = bytes.split_first().ok_or_else(cut)?;
    if *version != VERSION {
        return Err(format!("session form {version} is not {VERSION}, the one this version reads"));
    }
    let (last_seen, mut rest) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
    let mut states = Vec::new();
    while !rest.is_empty() {
        let (length, behind) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = u32::from_le_bytes(*length) as usize;
        if behind.len() < length {
            return Err(cut());
        }
        let (state, behind) = behind.split_at(length);
        states.push(state);
        rest = behind;
    }
    Ok(SessionForm { last_seen: LogTime(u64::from_le_bytes(*last_seen)), states })
}

/// Any bytes are refused, or are what would be written of what was read: a session has one form.
#[cfg(any(test, fuzzing, feature = "testing"))]
pub(crate) fn holds(bytes: &[u8]) {
    let Ok(form) = decode(bytes) else { return };
    let mut written = Vec::new();
    let states = form.states.iter().map(|state| move |out: &mut Vec<u8>| out.extend_from_slice(state));
    write(form.last_seen, states, &mut written);
    assert_eq!(written, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_form_is_fixed() {
        let bytes = [&[1][..], &7u64.to_le_bytes(), &2u32.to_le_bytes(), b"ab", &0u32.to_le_bytes()].concat();
        let form = decode(&bytes).unwrap();
        assert_eq!(form, SessionForm { last_seen: LogTime(7), states: vec![b"ab", b""] });
        assert!(decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(decode(&[2]).is_err(), "a later version is refused, not guessed at");
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_written_again(rest in proptest::collection::vec(0u8..4, 0..64)) {
            holds(&rest);
            holds(&[&[VERSION][..], &rest].concat());
        }

        #[test]
        fn what_is_written_is_read_back(
            last_seen in any::<u64>(),
            states in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..5),
        ) {
            let mut bytes = Vec::new();
            let writers = states.iter().map(|state| move |out: &mut Vec<u8>| out.extend_from_slice(state));
            write(LogTime(last_seen), writers, &mut bytes);
            let states = states.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(decode(&bytes), Ok(SessionForm { last_seen: LogTime(last_seen), states }));
        }
    }
}
