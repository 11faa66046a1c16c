//! A publisher that is not ours: paho, as Debian packages it.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// Publishes messages (topic, payload) at QoS 1, in order, as fast as the broker takes them. Returns when it has
/// acknowledged all.
pub fn paho(url: &str, messages: impl IntoIterator<Item = (String, String)>) {
    let place = url.strip_prefix("mqtt://").unwrap_or(url);
    let (host, port) = place.rsplit_once(':').unwrap_or((place, "1883"));
    // Debian's interpreter, which has Debian's package; another one may come first on the PATH.
    let mut child = Command::new("/usr/bin/python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/publish.py"))
        .args([host, port])
        .stdin(Stdio::piped())
        .spawn()
        .expect("/usr/bin/python3 is there; run tests/services/install");
    let mut lines = BufWriter::new(child.stdin.take().expect("it is piped"));
    for (topic, payload) in messages {
        assert!(!payload.contains('\n'), "a line is a message");
        writeln!(lines, "{topic}\t{payload}").expect("the publisher reads");
    }
    drop(lines);
    assert!(child.wait().expect("it is ours").success(), "paho could not publish");
}
