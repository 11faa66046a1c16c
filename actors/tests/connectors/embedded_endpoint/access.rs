//! Who may connect, and as whom: passwords and certificates.

use std::path::Path;

use argon2::password_hash::{PasswordHasher, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use serde_json::{Value, json};
use telemill_services::certify;

use super::fixture::Site;
use super::program::Program;
use crate::mqtt_support::raw::{Raw, SILENCE, connect, field, packet, publish, subscribe};

fn hash(password: &str) -> String {
    let salt = SaltString::encode_b64(b"salt of a test").unwrap();
    let cheap = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(64, 1, 1, None).unwrap());
    cheap.hash_password(password.as_bytes(), &salt).unwrap().to_string()
}

/// A CONNECT with a login, and a will on a topic where there is one.
fn login(version: u8, client_id: &str, user: &str, password: &str, will: Option<&str>) -> Vec<u8> {
    let properties: &[u8] = if version == 5 { &[0] } else { &[] };
    let flags = 0b1100_0010 | if will.is_some() { 0b100 } else { 0 };
    let head = [&[0, 4][..], b"MQTT", &[version, flags, 0, 60], properties].concat();
    let will = will.map_or(Vec::new(), |topic| [properties, &field(topic), &field("1")].concat());
    packet(0x10, &[&head, &field(client_id), &will, &field(user), &field(password)])
}

async fn answer(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut raw = Raw::open(port).await;
    raw.send(bytes).await;
    raw.packet().await
}

fn users(site: &mut Site, lines: &str) {
    std::fs::create_dir_all(&site.dir).unwrap();
    let path = site.dir.join("users");
    std::fs::write(&path, lines).unwrap();
    site.connection["auth"] = json!({ "users": { "secret": { "file": path } } });
}

#[tokio::test]
async fn a_device_logs_in_as_itself_and_is_nobody_else() {
    let mut site = Site::new();
    users(&mut site, &format!("d1:{}\nd2:{}\n", hash("one"), hash("two")));
    let endpoint = site.start().await;
    let port = endpoint.port;
    for (version, login_code, id_code, not_authorized) in [(4, 4, 2, 5), (5, 0x86, 0x85, 0x87)] {
        let refused = async |bytes: &[u8], code: u8, what: &str| {
            let answer = answer(port, bytes).await;
            assert_eq!((answer[0], answer[3]), (0x20, code), "version {version}: {what}");
        };
        refused(&login(version, "d1", "d1", "two", None), login_code, "a wrong password").await;
        refused(&login(version, "d1", "d1", "", None), login_code, "an empty password").await;
        refused(&login(version, "d3", "d3", "one", None), login_code, "an unknown device").await;
        refused(&login(version, "d2", "d1", "one", None), id_code, "another one's client id").await;
        refused(&login(version, "d 1", "d 1", "one", None), id_code, "no device id").await;
        refused(&connect(version, "d1", true, 60), login_code, "no login").await;
        refused(&login(version, "d1", "d1", "one", Some("devices/d2/data")), not_authorized, "another one's will")
            .await;

        let mut raw = Raw::open(port).await;
        raw.send(&login(version, "d1", "d1", "one", Some("devices/d1/data"))).await;
        assert_eq!(raw.packet().await[3], 0);
        raw.send(&publish(version, 1, 1, "devices/d1/data", b"1")).await;
        assert_eq!(raw.packet().await, [0x40, 2, 0, 1]);
        for (filter, granted) in [("devices/d1/commands", true), ("devices/d2/commands", false)] {
            raw.send(&subscribe(version, 2, filter, 1)).await;
            assert_eq!(*raw.packet().await.last().unwrap() == 1, granted, "{filter}");
        }
        for topic in ["devices/d2/data", "other/d1"] {
            raw.send(&publish(version, 1, 3, topic, b"2")).await;
            if version == 4 {
                // There is no other way to refuse a message; its will is said.
                assert_eq!(raw.rest().await, SILENCE);
                break;
            }
            assert_eq!(raw.packet().await, [0x40, 3, 0, 3, 0x87]);
        }
        if version == 5 {
            raw.only_pong().await;
            raw.send(&[0xe0, 0]).await;
            raw.rest().await;
        }
    }
    let devices: Vec<_> = endpoint.records(3).await.into_iter().map(|record| record.device.to_string()).collect();
    assert_eq!(devices, ["d1"; 3]);
    endpoint.dead(0).await;
    endpoint.close().await;
}

async fn publishes(dir: &Path, port: u16, authority: &str, certificate: &str, client_id: &str, topic: &str) -> bool {
    let path = |name: String| dir.join(name).to_str().unwrap().to_owned();
    let (ca, port) = (path(format!("{authority}.pem")), port.to_string());
    let (pem, key) = (path(format!("{certificate}.pem")), path(format!("{certificate}.key")));
    let place = ["-h", "127.0.0.1", "-p", &port, "-V", "mqttv5", "-i", client_id];
    let message = ["-q", "1", "-m", "1", "-t", topic, "--cafile", &ca, "--cert", &pem, "--key", &key];
    let (success, printed) = Program::start("mosquitto_pub", &[&place[..], &message].concat()).ends().await;
    success && printed.is_empty()
}

#[tokio::test]
async fn a_certificate_says_who_a_device_is() {
    let mut site = Site::new();
    std::fs::create_dir_all(&site.dir).unwrap();
    let dir = site.dir.clone();
    certify(&dir, "ours", "server", "IP:127.0.0.1");
    certify(&dir, "ours", "d1", "DNS:d1");
    certify(&dir, "theirs", "stranger", "DNS:d1");
    let tls: Value = json!({
        "certificate": dir.join("server.pem"),
        "key": { "secret": { "file": dir.join("server.key") } },
        "client_ca": dir.join("ours.pem"),
    });
    site.connection["tls"] = tls;
    let endpoint = site.start().await;
    let port = endpoint.port;
    let own = "devices/d1/data";
    assert!(publishes(&dir, port, "ours", "d1", "d1", own).await);
    assert!(!publishes(&dir, port, "ours", "d1", "d2", "devices/d2/data").await, "not its client id");
    assert!(!publishes(&dir, port, "ours", "d1", "d1", "devices/d2/data").await, "not its topic");
    assert!(!publishes(&dir, port, "ours", "stranger", "d1", own).await, "not our authority");
    let mut plain = Raw::open(port).await;
    plain.send(&connect(4, "d1", true, 60)).await;
    assert!(!plain.rest().await.starts_with(&[0x20]), "no TLS");
    assert_eq!(endpoint.records(1).await[0].device.as_str(), "d1");
    endpoint.close().await;
}
