//! The end of a journal after a crash: a torn tail is cut, damage before it is not passed over in silence.
//!
//! fjall recovers a journal up to the first entry that it cannot read, and drops what comes behind without a word; a
//! value with a hole in it makes it refuse the whole database. Neither is right for a log: the last group of writes may
//! be torn (nobody was told that it is durable) and is to go, but a broken group with a whole one behind it is damage to
//! what was acknowledged, and is to be reported. So the journals are read before fjall opens them.
//!
//! The form of fjall's journal (format version 3): a file is a row of batches; a batch is `01`, the number of entries
//! (u32), a sequence number (u64); then its entries, `02`, value type (u8), compression (u8), keyspace (u64), key length
//! (u16), value length (u32), stored length (u32), key, value as stored, or `04`, keyspace (u64); then `03`, the xxh3 of
//! all bytes of the entries (u64), and the four bytes `FJL\x03`. Numbers are little-endian. A new file is filled up with
//! zeros.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::error::DiskError;
use super::opened::Mark;

const START: usize = 13;
const ITEM: usize = 21;
const CLEAR: usize = 9;
const END: usize = 13;
const TRAILER: &[u8] = b"FJL\x03";

/// Cuts the torn tail of the newest journal in `dir`; [`DiskError::Broken`] where whole groups stand behind a broken one.
///
/// The bytes of a torn group are devices' for the most part, and could look like a whole one: so a group is only taken for
/// one of ours where it has the directory's `mark`, which no device knows.
pub(super) fn cut_torn(dir: &Path, mark: &Mark) -> Result<(), DiskError> {
    let journals = journals(dir)?;
    let newest = journals.last().cloned();
    for path in journals {
        let read = |file: &mut File| {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map(|_| bytes)
        };
        let bytes = File::open(&path).and_then(|mut file| read(&mut file));
        let bytes = bytes.map_err(|error| DiskError::io(&format!("reading {}", path.display()), &error))?;
        let whole = whole_until(&bytes);
        let rest = bytes.get(whole..).unwrap_or_default();
        if rest.iter().all(|byte| *byte == 0) {
            continue;
        }
        let torn = Some(&path) == newest.as_ref() && !has_batch(rest.get(1..).unwrap_or_default(), mark);
        if !torn {
            return Err(DiskError::Broken(format!(
                "{} is damaged at byte {whole}, and what stands behind was acknowledged: check the disk, and put back \
                 a copy of the data directory or move it away to begin anew",
                path.display()
            )));
        }
        tracing::warn!(code = "torn_tail", journal = %path.display(), bytes = rest.len(), "cut what was never acknowledged");
        let cut = OpenOptions::new().write(true).open(&path).and_then(|file| {
            file.set_len(whole as u64)?;
            file.sync_all()
        });
        cut.map_err(|error| DiskError::io(&format!("cutting {}", path.display()), &error))?;
    }
    Ok(())
}

/// Writes the journals over themselves and syncs them; blocks.
///
/// After an fsync that failed the kernel holds the pages for clean, though the disk may not have them: what is read back
/// proves nothing, and a further fsync writes nothing. Written again they are dirty again.
pub(super) fn write_again(dir: &Path) -> Result<(), DiskError> {
    for path in journals(dir)? {
        let again = fs::read(&path).and_then(|bytes| {
            // The zeros at its end take no room so far, and there may be none.
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let mut file = OpenOptions::new().write(true).open(&path)?;
            file.write_all(bytes.get(..used).unwrap_or_default())?;
            file.sync_all()
        });
        again.map_err(|error| DiskError::io(&format!("writing {} again", path.display()), &error))?;
    }
    Ok(())
}

/// The journals, oldest first.
fn journals(dir: &Path) -> Result<Vec<PathBuf>, DiskError> {
    let failed = |error: &std::io::Error| DiskError::io(&format!("reading {}", dir.display()), error);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| failed(&error))? {
        let path = entry.map_err(|error| failed(&error))?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse::<u64>().ok());
        found.extend(number.map(|number| (number, path)));
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Where the whole batches from the beginning on end.
fn whole_until(bytes: &[u8]) -> usize {
    let (mut at, mut last) = (0, None);
    while let Some((length, number)) = bytes.get(at..).and_then(batch) {
        // The number is not under the checksum, and one that goes back would hide the batch behind older ones.
        if last.is_some_and(|last| number <= last) {
            break;
        }
        (at, last) = (at + length, Some(number));
    }
    at
}

fn has_batch(bytes: &[u8], mark: &Mark) -> bool {
    let is_ours = |at: usize| {
        let rest = bytes.get(at..).unwrap_or_default();
        let group = batch(rest).and_then(|(length, _)| rest.get(..length));
        group.is_some_and(|group| group.windows(mark.len()).any(|part| part == mark))
    };
    (0..bytes.len()).any(is_ours)
}

/// The length and the sequence number of the whole batch that `bytes` begin with.
fn batch(bytes: &[u8]) -> Option<(usize, u64)> {
    let start = bytes.get(..START)?;
    let entries = (start.first() == Some(&1)).then(|| u32_at(start, 1))??;
    let mut at = START;
    for _ in 0..entries {
        let rest = bytes.get(at..)?;
        at += match rest.first()? {
            2 => ITEM + usize::from(u16_at(rest, 11)?) + u32_at(rest, 17)? as usize,
            4 => CLEAR,
            _ => return None,
        };
    }
    let end = bytes.get(at..at.checked_add(END)?)?;
    let checksum = u64::from_le_bytes(end.get(1..9)?.try_into().ok()?);
    let whole = end.first() == Some(&3) && end.get(9..) == Some(TRAILER) && checksum == xxh3_64(bytes.get(START..at)?);
    let number = u64::from_le_bytes(start.get(5..)?.try_into().ok()?);
    whole.then_some((at + END, number))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
