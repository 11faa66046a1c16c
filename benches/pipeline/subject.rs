//! A process whose cost is measured: the engine, or the bare loop of a leg.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::cpu;
use crate::leg::Leg;
use crate::site::Site;

/// Printed by a bare loop when whatever comes from now on is taken.
pub const READY: &str = "ready";

const START_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// Lines of a log that are shown when something goes wrong.
const SHOWN: usize = 20;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `telemill run` with a topology that has only the leg.
    Engine,
    /// The smallest program on the same libraries.
    Bare,
}

impl Kind {
    /// The name in the tables.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Engine => "engine",
            Kind::Bare => "bare",
        }
    }
}

/// The last lines that a process printed.
type Said = Arc<Mutex<VecDeque<String>>>;

/// A running process. It is killed with its value, and with the thread that started it.
pub struct Subject {
    child: Child,
    said: Said,
    /// The engine's API.
    api: Option<String>,
}

impl Subject {
    /// Starts one on a leg and waits until it takes whatever comes.
    pub fn start(kind: Kind, leg: Leg, site: &Site) -> anyhow::Result<Subject> {
        match kind {
            Kind::Engine => Subject::engine(&site.topology(leg)?, site),
            Kind::Bare => {
                let own = std::env::current_exe().context("this program's file is not known")?;
                let mut command = tied(&own);
                command.args(["--bare", leg.word(), "--name", site.name()]);
                let (subject, lines) = Subject::spawn(command, site)?;
                subject.hear(&lines, |line| (line == READY).then_some(()))?;
                Ok(subject)
            }
        }
    }

    /// Starts the engine on a topology and waits until every stage runs.
    pub fn engine(topology: &Path, site: &Site) -> anyhow::Result<Subject> {
        let mut command = tied(Path::new(env!("CARGO_BIN_EXE_telemill")));
        command.arg("run").arg(topology).args(["--listen", "127.0.0.1:0"]);
        command.env_remove("TELEMILL_LISTEN").env_remove("RUST_LOG");
        let (mut subject, lines) = Subject::spawn(command, site)?;
        let address = subject.hear(&lines, |line| {
            let entry: serde_json::Value = serde_json::from_str(line).ok()?;
            (entry["code"] == "listening").then(|| entry["address"].as_str().map(str::to_owned))?
        })?;
        subject.hear(&lines, |line| {
            let entry: serde_json::Value = serde_json::from_str(line).ok()?;
            (entry["code"] == "running").then_some(())
        })?;
        subject.api = Some(format!("http://{address}"));
        Ok(subject)
    }

    fn spawn(mut command: Command, site: &Site) -> anyhow::Result<(Subject, Receiver<String>)> {
        command
            .env("MQTT_URL", site.mqtt())
            .env("KAFKA_BROKERS", site.kafka())
            .env("REDIS_URL", site.redis())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("setpriv cannot be started")?;
        let (lines, heard) = channel();
        let said = Said::default();
        let outputs: [Option<Box<dyn Read + Send>>; 2] =
            [child.stdout.take().map(|out| Box::new(out) as _), child.stderr.take().map(|err| Box::new(err) as _)];
        for output in outputs.into_iter().flatten() {
            let (lines, said) = (lines.clone(), said.clone());
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                    said.push_back(line.clone());
                    if said.len() > SHOWN {
                        said.pop_front();
                    }
                    // Read to the end in any case: a process must not wait for room in its pipe.
                    let _ = lines.send(line);
                }
            });
        }
        Ok((Subject { child, said, api: None }, heard))
    }

    /// Fails when it has ended.
    pub fn lives(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("it ended with {status}; the last that it said:\n{}", self.said()),
        }
    }

    fn said(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// Waits for a line that says what is waited for.
    fn hear<T>(&self, lines: &Receiver<String>, found: impl Fn(&str) -> Option<T>) -> anyhow::Result<T> {
        let since = Instant::now();
        loop {
            let Ok(line) = lines.recv_timeout(START_WITHIN.saturating_sub(since.elapsed())) else {
                bail!("it was not ready within {START_WITHIN:?}; the last that it said:\n{}", self.said());
            };
            if let Some(found) = found(&line) {
                return Ok(found);
            }
        }
    }

    /// CPU time so far.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        cpu::of(self.child.id())
    }

    /// Where the engine's API is.
    pub fn api(&self) -> &str {
        self.api.as_deref().unwrap_or_default()
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let since = Instant::now();
        while since.elapsed() < STOP_WITHIN {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "it ended with {status}; the last that it said:\n{}", self.said());
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("it did not end within {STOP_WITHIN:?}")
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // Fails only where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tied(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}
