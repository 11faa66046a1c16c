//! An endpoint that other machines can reach: who connects, over TLS, and as whom.

use std::fs;

use argon2::password_hash::{PasswordHasher, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use telemill_services::{certify, wait_until};

use crate::support::{DEADLINE, Local, Mosquitto, Telemill};

/// The quick start on all addresses, with TLS.
fn site(test: &str) -> Local {
    let mut local = Local::without_fleet(test);
    certify(&local.dir, "ours", "server", "IP:127.0.0.1");
    let path = |name: &str| local.dir.join(name).display().to_string();
    let (certificate, key) = (path("server.pem"), path("server.key"));
    let tls = format!(r#"tls: {{ certificate: "{certificate}", key: {{ secret: {{ file: "{key}" }} }} }}"#);
    local.edit("mqtt_listen: ", &format!("{tls}, mqtt_listen: "));
    local.listen = "0.0.0.0:0".to_owned();
    local
}

/// Whether a client takes its message for published: it is acknowledged, and nothing was said against it.
fn publishes(local: &Local, telemill: &Telemill, client_id: &str, topic: &str, more: &[&str]) -> bool {
    let ca = local.dir.join("ours.pem").display().to_string();
    let message = ["-i", client_id, "-q", "1", "-t", topic, "-m", r#"{"temperature":20.5}"#, "--cafile", &ca];
    let client = Mosquitto::start("mosquitto_pub", &telemill.mqtt(), &[&message[..], more].concat());
    let (success, printed) = client.ends();
    success && printed.is_empty()
}

/// Waits until `d1` has so many messages, drains, and asserts that those are all that there is of anybody.
fn only_d1_was_heard(local: &Local, telemill: Telemill, count: usize) {
    wait_until(DEADLINE, "the messages of d1", || {
        let shown = telemill.device("d1");
        (shown["history"].as_array().map(Vec::len) == Some(count) && shown["online"] == true).then_some(())
    });
    for other in ["d2", "d3"] {
        assert_eq!(telemill.http.get(&format!("/api/v1/devices/{other}")).status, 404, "{other}");
    }
    telemill.drain();
    let heard: Vec<_> = local.log("iot-data").into_iter().map(|(device, records)| (device, records.len())).collect();
    assert_eq!(heard, [("d1".to_owned(), count)]);
    assert!(local.log("iot-hello").is_empty() && local.log("iot-data-dlq").is_empty());
}

fn hash(password: &str) -> String {
    let salt = SaltString::encode_b64(b"salt of a test").expect("it is long enough");
    let cheap = Params::new(64, 1, 1, None).expect("these are in order");
    let hashed = Argon2::new(Algorithm::Argon2id, Version::V0x13, cheap).hash_password(password.as_bytes(), &salt);
    hashed.expect("it can be hashed").to_string()
}

#[test]
fn a_device_with_a_password_over_tls_is_itself_and_nobody_else() {
    let mut local = site("access-password");
    let users = local.dir.join("users");
    fs::write(&users, format!("d1:{}\nd2:{}\n", hash("word of one"), hash("word of two"))).expect("it can be written");
    let auth = format!(r#"auth: {{ users: {{ secret: {{ file: "{}" }} }} }}, tls: "#, users.display());
    local.edit("tls: ", &auth);
    let telemill = local.run();
    let own = "devices/d1/data";
    let login = ["-u", "d1", "-P", "word of one"];
    assert!(publishes(&local, &telemill, "d1", own, &login));
    for topic in ["devices/d2/data", "devices/d2/hello"] {
        assert!(!publishes(&local, &telemill, "d1", topic, &login), "as another: {topic}");
        let old = [&login[..], &["-V", "mqttv311"]].concat();
        assert!(!publishes(&local, &telemill, "d1", topic, &old), "as another, in 3.1.1: {topic}");
    }
    let wills = ["--will-topic", "devices/d2/hello", "--will-payload", "gone", "--will-qos", "1"];
    assert!(!publishes(&local, &telemill, "d1", own, &[&login[..], &wills].concat()), "another one's will");
    assert!(!publishes(&local, &telemill, "d2", "devices/d2/data", &login), "another client id");
    assert!(!publishes(&local, &telemill, "d1", own, &["-u", "d1", "-P", "word of two"]), "another one's password");
    assert!(!publishes(&local, &telemill, "d3", "devices/d3/data", &["-u", "d3", "-P", "word of one"]), "a stranger");
    assert!(!publishes(&local, &telemill, "d1", own, &[]), "no password");
    let plain = ["-i", "d1", "-q", "1", "-t", own, "-m", "1", "-u", "d1", "-P", "word of one"];
    assert!(!Mosquitto::start("mosquitto_pub", &telemill.mqtt(), &plain).ends().0, "no TLS");
    assert!(publishes(&local, &telemill, "d1", own, &[&login[..], &["-V", "mqttv311"]].concat()), "in 3.1.1");
    assert!(!telemill.log().contains("word of"), "a password is in the log");
    only_d1_was_heard(&local, telemill, 2);
}

#[test]
fn a_device_with_a_certificate_is_itself_and_nobody_else() {
    let mut local = site("access-certificate");
    certify(&local.dir, "ours", "d1", "DNS:d1");
    certify(&local.dir, "theirs", "stranger", "DNS:d1");
    let path = |name: &str| local.dir.join(name).display().to_string();
    let of = |name: &str| {
        ["--cert".to_owned(), path(&format!("{name}.pem")), "--key".to_owned(), path(&format!("{name}.key"))]
    };
    let (own, theirs, ca) = (of("d1"), of("stranger"), path("ours.pem"));
    local.edit("tls: { ", &format!(r#"tls: {{ client_ca: "{ca}", "#));
    let telemill = local.run();
    let publishes = |client_id: &str, topic: &str, certificate: &[String]| {
        publishes(&local, &telemill, client_id, topic, &certificate.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert!(publishes("d1", "devices/d1/data", &own));
    assert!(!publishes("d1", "devices/d2/data", &own), "as another");
    assert!(!publishes("d2", "devices/d2/data", &own), "another client id");
    assert!(!publishes("d1", "devices/d1/data", &theirs), "of another authority");
    assert!(!publishes("d1", "devices/d1/data", &[]), "no certificate");
    only_d1_was_heard(&local, telemill, 1);
}
