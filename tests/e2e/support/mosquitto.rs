//! Devices that are not ours: Mosquitto's clients.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use telemill_services::wait_until;

use super::DEADLINE;

/// A `mosquitto_pub` or `mosquitto_sub` at work. It ends with its value (SIGKILL): its connection then ends without a
/// farewell.
pub struct Mosquitto(Child);

impl Mosquitto {
    /// Starts it against an endpoint on this machine, over MQTT 5 unless the arguments say otherwise.
    pub fn start(program: &str, url: &str, arguments: &[&str]) -> Mosquitto {
        let (_, port) = url.rsplit_once(':').expect("an address with a port");
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", program, "-V", "mqttv5", "-h", "127.0.0.1", "-p", port])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("setpriv is there");
        Mosquitto(child)
    }

    /// Waits for its end; whether it did what it was to do, and what it printed.
    pub fn ends(mut self) -> (bool, String) {
        let status = wait_until(DEADLINE, "a client to end", || self.0.try_wait().expect("it is ours"));
        let mut printed = String::new();
        let streams = (self.0.stdout.take(), self.0.stderr.take());
        let read = (
            streams.0.map(|mut out| out.read_to_string(&mut printed)),
            streams.1.map(|mut err| err.read_to_string(&mut printed)),
        );
        assert!(matches!(read, (Some(Ok(_)), Some(Ok(_)))), "{read:?}");
        (status.success(), printed)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = (self.0.kill(), self.0.wait());
    }
}
