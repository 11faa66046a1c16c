//! Kafka's default partitioner for keyed records, as the Java client has it.

/// The partition of a key.
pub fn partition_of(key: &str, partitions: i32) -> i32 {
    (murmur2(key.as_bytes()) & 0x7fff_ffff) as i32 % partitions
}

fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[test]
fn it_hashes_as_kafkas_own_tests_say() {
    let check = |key: &str, hash: i32| assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
    check("21", -973_932_308);
    check("foobar", -790_332_482);
    check("a-little-bit-long-string", -985_981_536);
    check("a-little-bit-longer-string", -1_486_304_829);
    check("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971);
    check("abc", 479_470_107);
}
