//! Certificates for a test, made by `openssl`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes `{name}.pem` and `{name}.key` into a directory: a certificate for `alternative` (`DNS:d1`, `IP:127.0.0.1`) of
/// the authority `{authority}.pem`, which is made where it is not there yet.
///
/// # Panics
/// When `openssl` is not installed, or refuses.
pub fn certify(dir: &Path, authority: &str, name: &str, alternative: &str) {
    fs::write(dir.join("ext"), format!("subjectAltName={alternative}\n")).expect("the directory can be written");
    let (key, csr, pem) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
    let (ca, ca_key) = (format!("{authority}.pem"), format!("{authority}.key"));
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    if !dir.join(&ca).exists() {
        let subject = format!("/CN={authority}");
        let arguments =
            [&["req", "-x509", "-days", "2", "-subj", &subject, "-keyout", &ca_key, "-out", &ca], &curve[..]];
        openssl(dir, &arguments.concat());
    }
    openssl(dir, &[&["req", "-subj", "/CN=x", "-keyout", &key, "-out", &csr][..], &curve].concat());
    let sign = ["x509", "-req", "-days", "2", "-in", &csr, "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial"];
    openssl(dir, &[&sign[..], &["-extfile", "ext", "-out", &pem]].concat());
}

fn openssl(dir: &Path, arguments: &[&str]) {
    let mut command = Command::new("openssl");
    let status = command.args(arguments).current_dir(dir).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.expect("openssl is there; run tests/services/install").success(), "openssl {arguments:?}");
}
