//! Free ports for servers that will be stopped and started again.
//!
//! `bind(0)` would hand out a port from the range that the kernel also gives to outgoing connections. While such a
//! server is down, any connection of the machine may take its port; a client that keeps dialling the closed port may
//! even be given that very port as its own, connect to itself, and hold it. So ports come from below that range.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below Linux's usual first port for outgoing connections (32768), above the well-known servers.
const PORTS: Range<u16> = 20_000..32_000;
const PAIRS: u16 = (PORTS.end - PORTS.start) / 2;

/// A port that nobody listens on, as with the port after it, and that this process has not handed out before. Always in
/// pairs, because Kafka needs a second one.
pub(crate) fn free_pair() -> anyhow::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes start at random places, so that two test runs do not meet.
    static START: LazyLock<u16> =
        LazyLock::new(|| (RandomState::new().hash_one(std::process::id()) % u64::from(PAIRS)) as u16);

    for _ in 0..PAIRS {
        let pair = (*START + NEXT.fetch_add(1, Ordering::Relaxed) % PAIRS) % PAIRS;
        let port = PORTS.start + 2 * pair;
        if is_free(port) && is_free(port + 1) {
            return Ok(port);
        }
    }
    anyhow::bail!("no two free ports between {} and {}", PORTS.start, PORTS.end)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_in_the_range_and_handed_out_once() {
        let mut ports: Vec<u16> = (0..200).map(|_| free_pair().unwrap()).collect();
        assert!(ports.iter().all(|port| PORTS.contains(port) && PORTS.contains(&(port + 1))));
        ports.sort_unstable();
        assert!(ports.windows(2).all(|next| next[1] - next[0] >= 2));
    }

    #[test]
    fn a_port_in_use_is_passed_over() {
        let next = || free_pair().unwrap();
        // Whoever asks for a pair meanwhile (the tests run at once) only makes the held ones be passed over sooner.
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, next() + 1)).unwrap();
        let held = held.local_addr().unwrap().port();
        assert!(!is_free(held));
        assert!((0..PAIRS).all(|_| next() != held - 1));
    }
}
