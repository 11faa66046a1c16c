//! One server as a child process: started, frozen, killed, restarted, gone with its value.

use std::fs::{self, OpenOptions};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use crate::port::free_pair;
use crate::scratch::Scratch;
use crate::spawner;
use crate::wait::{pause, wait_until};

/// Kafka on a busy machine needs most of what it gets; the others are there at once.
const START_DEADLINE: Duration = Duration::from_secs(90);
/// A polite end writes what is in memory first.
const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// A running server, whatever its kind. All methods take `&self`, so that a test may restart a service in one thread
/// while others talk to it; those that change its state wait for each other.
#[derive(Debug)]
pub struct Server {
    kind: &'static str,
    port: u16,
    /// Passed to `tests/services/serve` at every start.
    options: Vec<String>,
    child: Mutex<Child>,
    /// Last, because fields drop in order: the files go when nothing writes them any more.
    scratch: Scratch,
}

impl Server {
    fn start(kind: &'static str, options: &[&str]) -> Self {
        let start = || -> anyhow::Result<Self> {
            let scratch = Scratch::new(kind)?;
            let port = free_pair()?;
            let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
            let child = launch(kind, port, &options, &scratch)?;
            let child = Mutex::new(child);
            Ok(Self { kind, port, options, child, scratch })
        };
        start().unwrap_or_else(|error| panic!("cannot start {kind}: {error:#}"))
    }

    /// The port it listens on, on 127.0.0.1. It keeps it over a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The process id of the server itself (no wrapper stands between). Another one after each restart.
    pub fn pid(&self) -> u32 {
        self.child().id()
    }

    /// The directory with its data, its configuration file and its `log`.
    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// Freezes it (SIGSTOP): connections stay open and nothing answers, as with a machine that hangs. When this
    /// returns, no thread of it runs.
    pub fn stop(&self) {
        let child = self.running();
        self.signal(&child, Signal::STOP);
        let what = format!("{} to stand still", self.kind);
        wait_until(STOP_DEADLINE, &what, || all_threads_stopped(child.id()).then_some(()));
    }

    /// Lets a frozen server go on (SIGCONT).
    pub fn cont(&self) {
        self.signal(&self.running(), Signal::CONT);
    }

    /// Kills it (SIGKILL): nothing more is written by it. What it wrote before stays, and nobody listens on its port.
    pub fn kill9(&self) {
        kill_and_reap(&mut self.child());
    }

    /// Asks it to end (SIGTERM) and waits until it has, frozen or not.
    pub fn terminate(&self) {
        self.terminate_child(&mut self.child());
    }

    /// Starts it again on the same port and files, after [`terminate`](Self::terminate) where it still runs. Returns
    /// when it serves.
    pub fn restart(&self) {
        let mut child = self.child();
        self.terminate_child(&mut child);
        *child = launch(self.kind, self.port, &self.options, &self.scratch)
            .unwrap_or_else(|error| panic!("cannot restart {}: {error:#}", self.kind));
    }

    fn terminate_child(&self, child: &mut Child) {
        if has_ended(child) {
            return;
        }
        // A frozen server takes the signal that waits for it first when it goes on; one that is not does not notice.
        self.signal(child, Signal::TERM);
        self.signal(child, Signal::CONT);
        let what = format!("{} to end after SIGTERM", self.kind);
        wait_until(STOP_DEADLINE, &what, || has_ended(child).then_some(()));
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        // A panic while it was held (a deadline passed) leaves the child as it is.
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> MutexGuard<'_, Child> {
        let mut child = self.child();
        assert!(!has_ended(&mut child), "{} does not run; restart it first", self.kind);
        child
    }

    /// To a child that has not been seen to end: until it is reaped its process id is its own.
    fn signal(&self, child: &Child, signal: Signal) {
        kill_process(Pid::from_child(child), signal)
            .unwrap_or_else(|error| panic!("cannot send {signal:?} to {}: {error}", self.kind));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        kill_and_reap(&mut self.child());
    }
}

/// Starts the server on its files and returns when it serves.
fn launch(kind: &str, port: u16, options: &[String], scratch: &Scratch) -> anyhow::Result<Child> {
    let log =
        OpenOptions::new().create(true).append(true).open(scratch.log()).context("cannot open the server's log")?;
    let mut command = spawner::tied(&script("serve"));
    command
        .arg(kind)
        .args(["--port", &port.to_string(), "--dir"])
        .arg(scratch.path())
        .args(options)
        .stdin(Stdio::null())
        .stderr(log.try_clone().context("cannot share the log")?)
        .stdout(log);
    let mut child = spawner::spawn(command).context("cannot run tests/services/serve")?;

    let start = Instant::now();
    let problem = loop {
        let ready = is_ready(kind, port)?;
        // Looked at after the answer: it may have come from a stranger on that port, and ours had to give up.
        if let Some(status) = child.try_wait()? {
            break format!("it ended ({status})");
        }
        if ready {
            return Ok(child);
        }
        if start.elapsed() > START_DEADLINE {
            kill_and_reap(&mut child);
            break format!("it did not serve within {START_DEADLINE:?}");
        }
        pause();
    };
    anyhow::bail!("{problem}; the end of its log:\n{}", scratch.log_tail())
}

/// Asks once. Takes some milliseconds, or two seconds where something listens and does not answer.
fn is_ready(kind: &str, port: u16) -> anyhow::Result<bool> {
    let status = Command::new(script("ready"))
        .args([kind, &port.to_string()])
        .stdin(Stdio::null())
        .status()
        .context("cannot run tests/services/ready")?;
    Ok(status.success())
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn kill_and_reap(child: &mut Child) {
    // Fails only for a child that was reaped before.
    let _ = child.kill();
    let _ = child.wait();
}

fn has_ended(child: &mut Child) -> bool {
    matches!(child.try_wait(), Ok(Some(_)))
}

/// Whether every thread of the process is in state T. Behind the thread's name, in brackets, the state comes first.
fn all_threads_stopped(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    threads.flatten().all(|thread| {
        fs::read_to_string(thread.path().join("stat"))
            .is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|s| s.starts_with('T')))
    })
}

/// An MQTT broker: Mosquitto with `config/mosquitto.conf`.
#[derive(Debug)]
pub struct Mosquitto(Server);

/// A Kafka broker: one node in KRaft mode. Topics are not created by use.
#[derive(Debug)]
pub struct Kafka(Server);

/// A Redis server with an append-only file, written out every second.
#[derive(Debug)]
pub struct Redis(Server);

impl Mosquitto {
    /// Starts one and waits until it serves.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with more options of `tests/services/serve`: `&["--set", "max_queued_messages 10"]`.
    pub fn start_with(options: &[&str]) -> Self {
        Self(Server::start("mosquitto", options))
    }

    /// `mqtt://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address())
    }
}

impl Kafka {
    /// Starts one and waits until it serves.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with more options of `tests/services/serve`: `&["--set", "message.max.bytes=2000000"]`.
    pub fn start_with(options: &[&str]) -> Self {
        Self(Server::start("kafka", options))
    }

    /// `127.0.0.1:port`, as clients take it for `bootstrap.servers`.
    pub fn brokers(&self) -> String {
        self.address()
    }
}

impl Redis {
    /// Starts one and waits until it serves.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with more options of `tests/services/serve`: `&["--set", "appendfsync always"]`.
    pub fn start_with(options: &[&str]) -> Self {
        Self(Server::start("redis", options))
    }

    /// `redis://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }
}

impl Deref for Mosquitto {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

impl Deref for Kafka {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

impl Deref for Redis {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}
