//! The process under test on a terminal, as a user sees it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use telemill_services::wait_until;

/// `telemill run` on a terminal of its own, which is the one that it is controlled by: Ctrl-C is a key. It ends with its
/// value (SIGKILL); what the terminal has shown last is printed when the test fails.
pub struct Terminal {
    child: Child,
    keys: File,
    shown: Arc<Mutex<Vec<u8>>>,
    /// Gathers what is shown, until nobody can write to it any more.
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Starts it on a topology file, with these variables set. `command` becomes what its arguments say.
    pub fn start_by(mut command: Command, file: &Path, variables: &[(&str, String)]) -> Terminal {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags).expect("there is another terminal");
        unlockpt(&ours).expect("it is ours");
        tcsetwinsize(&ours, Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 }).expect("it is ours");
        let theirs = ioctl_tiocgptpeer(&ours, flags).expect("it is unlocked");
        let again = || theirs.try_clone().expect("there is another file descriptor");
        command
            .args(["setpriv", "--pdeathsig", "KILL", "setsid", "--ctty", env!("CARGO_BIN_EXE_telemill"), "run"])
            .arg(file)
            .args(["--listen", "127.0.0.1:0"])
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .env("TERM", "xterm-256color")
            .stdin(again())
            .stdout(again())
            .stderr(again());
        for unwanted in ["TELEMILL_LISTEN", "RUST_LOG", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
            command.env_remove(unwanted);
        }
        let child = command.spawn().expect("setsid and setpriv of util-linux are there");
        let shown = Arc::<Mutex<Vec<u8>>>::default();
        let keys = File::from(ours.try_clone().expect("there is another file descriptor"));
        let reader = Some(read(ours, shown.clone()));
        Terminal { child, keys, shown, reader }
    }

    /// Everything that it was sent so far, with what switches its style and moves the cursor.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// The text of that.
    pub fn text(&self) -> String {
        let raw = self.raw();
        let mut parts = raw.split("\u{1b}[");
        let mut text = parts.next().unwrap_or_default().to_owned();
        // Behind the escape stand parameters, and a letter that ends them.
        let behind = |part: &str| {
            part.find(|c: char| c.is_ascii_alphabetic()).map_or(String::new(), |at| part[at + 1..].to_owned())
        };
        text.extend(parts.map(behind));
        text
    }

    /// Presses Ctrl-C.
    pub fn ctrl_c(&mut self) {
        self.keys.write_all(b"\x03").expect("the terminal is ours");
    }

    /// Its exit code, which it must have by the deadline.
    pub fn exit_code(&mut self, deadline: Duration) -> i32 {
        let status = wait_until(deadline, "telemill to end", || self.child.try_wait().expect("it is ours"));
        // What it showed last is there before anybody looks.
        let _ = self.reader.take().map(JoinHandle::join);
        status.code().unwrap_or_else(|| panic!("telemill ended by a signal: {status}"))
    }
}

fn read(terminal: OwnedFd, shown: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    let mut terminal = File::from(terminal);
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = terminal.read(&mut bytes) {
            shown.lock().unwrap_or_else(PoisonError::into_inner).extend(&bytes[..count]);
        }
    })
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Fails only where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let text = self.text();
            let lines: Vec<_> = text.lines().collect();
            eprintln!("what the terminal shows last:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}
