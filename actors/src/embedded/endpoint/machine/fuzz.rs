//! The machine against hostile bytes: conversations of the corpus (`tests/corpus/mqtt_endpoint`), mutated and cut into
//! pieces at random, from a seed. Whatever comes, nothing panics, nothing is said behind an end, and how the bytes were cut
//! makes no difference.
//!
//! `MQTT_FUZZ_ROUNDS` sets how many conversations are tried, `MQTT_FUZZ_SEED` where to begin.

use std::path::Path;

use super::*;

const BOUNDS: Bounds = Bounds { packet: 4096, topic: 64, client_id: 23, receive_maximum: 4 };
const ROUNDS: u64 = 20_000;

/// xorshift64*: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }
}

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/mqtt_endpoint");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 8, "{paths:?}");
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn mutate(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    const TELLING: [u8; 10] = [0, 1, 2, 4, 0x7f, 0x80, 0xff, b'+', b'#', b'/'];
    for _ in 0..random.below(4) {
        let at = random.below(bytes.len());
        match random.below(7) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = TELLING[random.below(TELLING.len())],
            2 => bytes.insert(at, random.below(256) as u8),
            3 if bytes.len() > 1 => drop(bytes.remove(at)),
            4 => bytes.truncate(at.max(1)),
            5 => {
                let end = (at + random.below(40)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len());
                bytes.truncate(at.max(1));
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
}

/// Drives a machine with pieces of at most `piece` bytes, as a connection would; what it said.
fn converse(bytes: &[u8], mut piece: impl FnMut() -> usize, accept: bool) -> Vec<String> {
    const TERMS: Terms<'static> =
        Terms { session_present: false, client_id: None, session_expiry: None, receive_maximum: 4, packet_limit: 4096 };
    let mut machine = Machine::new(BOUNDS);
    let (mut said, mut events) = (Vec::new(), Vec::new());
    let mut rest = bytes;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(piece().clamp(1, rest.len()));
        rest = later;
        let was_closed = machine.is_closed();
        machine.feed(now, &mut events);
        while !events.is_empty() {
            for event in std::mem::take(&mut events) {
                assert!(!was_closed, "{event:?} behind an end");
                match &event {
                    Event::Connect(_) if accept => machine.open(&TERMS, &mut events),
                    Event::Connect(_) => machine.refuse(Code::NOT_AUTHORIZED),
                    Event::Subscribe(subscribe) => {
                        let codes = vec![Code(1); subscribe.filters.len()];
                        machine.suback(subscribe.packet_id, &codes);
                    }
                    Event::Unsubscribe { packet_id, filters } => {
                        machine.unsuback(*packet_id, &vec![Code::SUCCESS; filters.len()]);
                    }
                    _ => {}
                }
                said.push(format!("{event:?}"));
            }
        }
        assert!(machine.out().len() <= 64 * (bytes.len() + 64), "the answers outgrow what was said");
        machine.out().clear();
    }
    let messages = said.iter().filter(|event| event.starts_with("Publish")).count();
    let owed = machine.owed();
    machine.release(u64::MAX);
    assert!(machine.owed() == 0 && owed <= messages + said.iter().filter(|e| e.starts_with("Rejected")).count());
    said
}

#[test]
fn nothing_that_is_said_shakes_it() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |value| value.parse().unwrap());
    let rounds = if std::env::var_os("TELEMILL_NIGHTLY").is_some() { 50 * ROUNDS } else { ROUNDS };
    let (rounds, seed) = (number("MQTT_FUZZ_ROUNDS", rounds), number("MQTT_FUZZ_SEED", 1));
    let corpus = corpus();
    let mut opened = 0;
    for round in 0..rounds {
        let mut random = Random((seed + round).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut bytes = corpus[random.below(corpus.len())].clone();
        mutate(&mut bytes, &corpus, &mut random);
        let accept = random.below(8) > 0;
        let whole = std::panic::catch_unwind(|| converse(&bytes, || usize::MAX, accept));
        let whole = whole.unwrap_or_else(|_| panic!("seed {}: {}", seed + round, bytes.escape_ascii()));
        let cut = converse(&bytes, || 1 + random.below(9), accept);
        assert_eq!(whole, cut, "seed {}: {}", seed + round, bytes.escape_ascii());
        opened += usize::from(whole.len() > 1);
    }
    assert!(opened as u64 > rounds / 4, "the mutations leave nothing to talk about: {opened}");
}
