//! The process under test.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use telemill_services::wait_until;

use super::{DEADLINE, Http, Numbers, Site};

/// `telemill run` on a site's topology. It ends with its value (SIGKILL), and with the thread that started it; the end
/// of its log is printed when the test fails.
pub struct Telemill {
    child: Child,
    /// What it writes to standard error.
    log: Lines,
    /// What it writes to standard output.
    printed: Lines,
    /// Its API.
    pub http: Http,
    topology: String,
}

impl Telemill {
    /// Starts it and waits until its API listens.
    pub fn start(site: &Site) -> Telemill {
        let [mqtt, kafka, redis] = [&site.mqtt, &site.kafka, &site.redis].map(String::clone);
        let services = [("MQTT_URL", mqtt), ("KAFKA_BROKERS", kafka), ("REDIS_URL", redis)];
        Telemill::start_file(&site.file(), &site.name, &services)
    }

    /// Starts it on a topology file, with these variables set, and waits until its API listens.
    pub fn start_file(file: &Path, topology: &str, variables: &[(&str, String)]) -> Telemill {
        Telemill::start_by(Command::new("env"), file, topology, variables)
    }

    /// As [`Telemill::start_file`], by a program that becomes what its arguments say.
    pub fn start_by(command: Command, file: &Path, topology: &str, variables: &[(&str, String)]) -> Telemill {
        let binary = Path::new(env!("CARGO_BIN_EXE_telemill"));
        let mut telemill = Telemill::spawn(command, binary, file, topology, variables);
        assert!(telemill.listens(), "telemill ended before it listened");
        telemill
    }

    /// As [`Telemill::start_by`], a binary of the caller's, without waiting for anything.
    pub fn spawn(
        mut command: Command,
        binary: &Path,
        file: &Path,
        topology: &str,
        variables: &[(&str, String)],
    ) -> Telemill {
        command
            .args(["setpriv", "--pdeathsig", "KILL"])
            .arg(binary)
            .arg("run")
            .arg(file)
            .args(["--listen", "127.0.0.1:0"])
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .env_remove("TELEMILL_LISTEN")
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("setpriv is there");
        let log = Lines::of(child.stderr.take().expect("it is piped"));
        let printed = Lines::of(child.stdout.take().expect("it is piped"));
        let topology = topology.to_owned();
        Telemill { child, log, printed, http: Http::new("http://unknown"), topology }
    }

    /// Waits until its API listens; false when it ends before.
    pub fn listens(&mut self) -> bool {
        let address = wait_until(DEADLINE, "the address of the API in the log", || {
            let entry = self.logged("listening").pop();
            let address = entry.map(|entry| entry["address"].as_str().unwrap_or_default().to_owned());
            address.map(Some).or_else(|| self.status().map(|_| None))
        });
        if let Some(address) = &address {
            self.http = Http::new(&format!("http://{address}"));
        }
        address.is_some()
    }

    /// Starts it and waits until everything runs.
    pub fn run(site: &Site) -> Telemill {
        let mut telemill = Telemill::start(site);
        telemill.until_ready();
        telemill
    }

    /// Waits until every stage runs.
    pub fn until_ready(&mut self) {
        wait_until(DEADLINE, "readiness", || {
            assert!(self.status().is_none(), "telemill ended before it was ready");
            (self.http.get("/readyz").status == 200).then_some(())
        });
    }

    /// The entries of the log with this code, so far.
    pub fn logged(&self, code: &str) -> Vec<Value> {
        let entries = self.log.so_far().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        entries.filter(|entry| entry["code"] == code).collect()
    }

    /// The whole log so far.
    pub fn log(&self) -> String {
        self.log.so_far().join("\n")
    }

    /// The lines that it has printed so far.
    pub fn printed(&self) -> Vec<String> {
        self.printed.so_far()
    }

    /// Where devices connect to its own endpoint, once they can.
    pub fn mqtt(&self) -> String {
        let address = wait_until(DEADLINE, "the address of the endpoint in the log", || {
            self.logged("mqtt_endpoint::listening").pop().map(|entry| entry["address"].clone())
        });
        format!("mqtt://{}", address.as_str().expect("an address is text"))
    }

    /// What a metric shows, of which there is one.
    pub fn gauge(&self, name: &str) -> Option<f64> {
        let page = self.http.get("/metrics").body;
        let line = page.lines().find(|line| line.starts_with(&format!("{name}{{")))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    /// What it says of a device, with the whole history.
    pub fn device(&self, id: &str) -> Value {
        self.http.get(&format!("/api/v1/devices/{id}?limit=10000")).json()
    }

    /// The numbers in a device's history, and the messages' ids.
    pub fn history(&self, device: &str) -> Numbers {
        let number = |message: &Value| {
            let event_id = message["event_id"].as_str().expect("it has an id").to_owned();
            (message["payload"]["seq"].as_u64().expect("it is numbered"), event_id)
        };
        self.device(device)["history"].as_array().into_iter().flatten().map(number).collect()
    }

    /// The status page of the topology.
    pub fn topology(&self) -> Value {
        let answer = self.http.get(&format!("/api/v1/topologies/{}/status", self.topology));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// The ledger of one stage.
    pub fn ledger(&self, stage: &str) -> Value {
        let topology = self.topology();
        let stages = topology["stages"].as_array().expect("stages are a list");
        let found = stages.iter().find(|s| s["name"] == stage).unwrap_or_else(|| panic!("no {stage} in {topology}"));
        found["ledger"].clone()
    }

    /// Asserts that every stage accounts for every record it received.
    pub fn ledgers_balance(&self) {
        wait_until(DEADLINE, "ledgers that balance, with nothing in flight", || {
            let topology = self.topology();
            let stages = topology["stages"].as_array().expect("stages are a list");
            stages
                .iter()
                .all(|stage| unaccounted(&stage["ledger"]) == 0 && stage["ledger"]["in_flight"] == 0)
                .then_some(())
        });
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory, in bytes.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a process has a VmRSS");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("it is a number") << 10
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub fn kill9(mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }

    /// Waits until it has ended by itself; false when it does not in time.
    pub fn ends_within(&mut self, time: Duration) -> bool {
        let end = std::time::Instant::now() + time;
        while self.status().is_none() {
            if std::time::Instant::now() > end {
                return false;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        true
    }

    /// Says a line to its standard input. One that has ended hears nothing.
    pub fn say(&mut self, line: &str) {
        let _ = self.child.stdin.as_mut().map(|stdin| writeln!(stdin, "{line}"));
    }

    /// Freezes it (SIGSTOP), and lets it go on (SIGCONT).
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    pub fn cont(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to end (SIGTERM).
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Asks it to end as Ctrl-C does (SIGINT).
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is ours, and not reaped");
    }

    /// Its exit code, which it must have by the deadline.
    pub fn exit_code(&mut self, deadline: Duration) -> i32 {
        let status = wait_until(deadline, "telemill to end", || self.status());
        // What it said last is in the log before anybody looks.
        self.log.end();
        self.printed.end();
        status.code().unwrap_or_else(|| panic!("telemill ended by a signal: {status}"))
    }

    /// Asks it to end and expects that it drains.
    pub fn drain(mut self) {
        self.terminate();
        assert_eq!(self.exit_code(DEADLINE), 0);
    }

    /// How it has ended, if it has.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is ours")
    }
}

/// The lines of a stream, as they come.
struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    /// Ends with the stream.
    reader: Option<JoinHandle<()>>,
}

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Lines {
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let copy = lines.clone();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                copy.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Lines { lines, reader: Some(reader) }
    }

    fn so_far(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the end of the stream.
    fn end(&mut self) {
        let _ = self.reader.take().map(JoinHandle::join);
    }
}

/// What a ledger received and does not account for.
fn unaccounted(ledger: &Value) -> i64 {
    let number = |key: &str| ledger[key].as_i64().unwrap_or_default();
    let sum = |key: &str| ledger[key].as_object().into_iter().flatten().filter_map(|(_, n)| n.as_i64()).sum::<i64>();
    number("received")
        - number("forwarded")
        - number("absorbed")
        - number("in_flight")
        - sum("dead_lettered")
        - sum("dropped")
        - sum("returned")
}

impl Drop for Telemill {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let status = self.http.get(&format!("/api/v1/topologies/{}/status", self.topology));
            eprintln!("what telemill says of itself ({}): {}", status.status, status.body);
            if let Some(ended) = self.status() {
                eprintln!("telemill had ended: {ended}");
            }
        }
        // Fails only where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let lines = self.log.so_far();
            eprintln!("the end of telemill's log:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}
