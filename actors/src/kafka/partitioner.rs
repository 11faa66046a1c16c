//! Where a device belongs: Kafka's default partitioner for keyed records, as the Java client has it (`Utils.murmur2`).
//!
//! What is sent leaves the choice to librdkafka (`murmur2_random`). This is for what is read: a record whose device does
//! not belong to its partition was written by somebody who puts devices elsewhere.

use telemill_engine::position::Partition;

/// The partition of a key, of so many.
pub fn partition_of(key: &str, partitions: i32) -> Partition {
    // Without its sign, as `Utils.toPositive` does it, so that it fits.
    let positive = (murmur2(key.as_bytes()) & 0x7fff_ffff) as i32;
    positive % partitions.max(1)
}

fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ key.len() as u32;
    let (words, rest) = key.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Kafka's `UtilsTest`.
    #[test]
    fn it_hashes_as_the_java_client_does() {
        let check = |key: &str, expect: i32| assert_eq!(murmur2(key.as_bytes()) as i32, expect, "{key}");
        check("21", -973_932_308);
        check("foobar", -790_332_482);
        check("a-little-bit-long-string", -985_981_536);
        check("a-little-bit-longer-string", -1_486_304_829);
        check("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971);
        check("abc", 479_470_107);
    }

    #[test]
    fn a_negative_hash_has_a_partition_too() {
        assert_eq!(partition_of("foobar", 12), (-790_332_482_i32 & 0x7fff_ffff) % 12);
        assert_eq!(partition_of("foobar", 1), 0);
    }
}
