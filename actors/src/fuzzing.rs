//! What fuzz targets call: inside doors, only there under `--cfg fuzzing`.

use crate::embedded::endpoint;

/// Bytes that a client sends to the MQTT endpoint. Panics where a promise of its protocol machine does not hold.
pub fn mqtt_endpoint(bytes: &[u8]) {
    endpoint::fuzz(bytes);
}
