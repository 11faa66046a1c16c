//! What must hold for any bytes, behind doors that are closed otherwise: called by the fuzz targets (`tests/fuzz`), and
//! by tests with the targets' corpus.
//!
//! Each function panics where a promise does not hold.

use crate::keyed::{Keyed, read_session};
use crate::{control, runtime};

/// The bytes of all stages' sessions of one device in a checkpoint.
pub fn session_form(bytes: &[u8]) {
    runtime::session_form_holds(bytes);
}

/// The bytes of one stage's session in a checkpoint, in the form `version`: refused, or a session that is written and
/// read back without a change.
pub fn session<K: Keyed>(version: u8, bytes: &[u8]) {
    let read = match version == K::STATE_VERSION {
        true => read_session::<K::Session>(bytes),
        false => K::read_earlier(version, bytes),
    };
    let Ok(session) = read else { return };
    let write = |session| postcard::to_stdvec(session).expect("a session is plain data");
    let written = write(&session);
    let again = read_session::<K::Session>(&written).expect("what was written is read back");
    // By their bytes: a number that is none is not equal to itself.
    assert_eq!(write(&again), written);
}

/// A request to the HTTP API: `METHOD target`, an empty line, the body.
pub fn api(bytes: &[u8]) {
    control::fuzz::holds(bytes);
}
