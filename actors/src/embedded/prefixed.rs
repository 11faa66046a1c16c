//! Pieces that stand one behind the other, each behind its length, as in the pages of the log and of the history.

use bytes::{Buf, Bytes};

/// A page takes no further piece that would make it longer than this, in bytes. Whoever wants a piece reads all of its page, and
/// keeps all of it in memory for as long as the piece: as with a block of a table, which is as large.
pub(super) const PAGE_FULL: usize = 16 << 10;

/// Takes the next piece, behind its length (u32); `None` where it is not there.
pub(super) fn split_prefixed(pieces: &mut Bytes) -> Option<Bytes> {
    let length = pieces.try_get_u32().ok()? as usize;
    (length <= pieces.len()).then(|| pieces.split_to(length))
}
