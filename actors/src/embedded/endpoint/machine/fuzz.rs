//! The machine against hostile bytes: conversations of the corpus (`tests/corpus/mqtt_endpoint`), mutated and cut into
//! pieces at random, from a seed. Whatever comes, nothing panics, nothing is said behind an end, and how the bytes were cut
//! makes no difference.
//!
//! `MQTT_FUZZ_ROUNDS` sets how many conversations are tried, `MQTT_FUZZ_SEED` where to begin.

use std::path::Path;

use super::converse::holds;

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
        let pieces: Vec<usize> = (0..16).map(|_| 1 + random.below(9)).collect();
        let events = std::panic::catch_unwind(|| holds(&bytes, pieces.iter().copied().cycle()));
        let events = events.unwrap_or_else(|_| panic!("seed {}: {}", seed + round, bytes.escape_ascii()));
        opened += usize::from(events > 1);
    }
    assert!(opened as u64 > rounds / 4, "the mutations leave nothing to talk about: {opened}");
}
