//! The shared services end with the process that started them, although nothing drops them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use telemill_services::{Redis, Services, wait_until};

/// Set for the child that `a_server_ends_with_its_process` makes of this very test binary.
const CHILD: &str = "TELEMILL_SERVICES_TEST_CHILD";

#[test]
fn the_address_is_the_same_for_all() {
    let services = Services::shared();
    assert!(services.redis_url().starts_with("redis"));
    assert_eq!(services.redis_url(), Services::shared().redis_url());
}

#[test]
fn a_server_ends_with_its_process() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_exits_without_dropping", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    let pid: u32 = output
        .split_once("server ")
        .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_else(|| panic!("the child started no server: {child:?}"));

    wait_until(Duration::from_secs(10), "the orphaned server to end", || {
        // What init has not reaped yet has ended, too.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
}

/// Does nothing but in the child: there it starts a server on a test's thread, which ends, and exits with it running.
#[test]
fn child_that_exits_without_dropping() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let redis = std::thread::spawn(Redis::start).join().unwrap();
    assert!(
        Path::new(&format!("/proc/{}", redis.pid())).exists(),
        "the server ended with the thread that asked for it"
    );
    println!("server {}", redis.pid());
    std::process::exit(0);
}
