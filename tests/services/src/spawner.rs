//! Starts child processes that cannot outlive this one.
//!
//! Linux can send a signal to a child when its parent is gone (`PR_SET_PDEATHSIG`, set here by `setpriv`), which covers
//! what no destructor does: statics, `process::exit`, SIGKILL. But "parent" is the *thread* that forked, and a test's
//! thread ends with its test while a shared service goes on. So one thread, which ends with the process, starts them all.

use std::io;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

type Request = (Command, SyncSender<io::Result<Child>>);

/// A command for `program` that [`spawn`] ties to this process. The tie survives `exec`, as long as the program does not
/// change its user.
pub(crate) fn tied(program: &std::path::Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// Spawns on the one long-lived thread.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<SyncSender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (requests, inbox) = sync_channel::<Request>(1);
        thread::spawn(move || {
            for (mut command, reply) in inbox {
                let _ = reply.send(command.spawn());
            }
        });
        requests
    });
    let gone = |_| io::Error::other("the thread that starts servers is gone");
    let (reply, answer) = sync_channel(1);
    spawner.send((command, reply)).map_err(|_| gone(()))?;
    answer.recv().map_err(|_| gone(()))?
}
