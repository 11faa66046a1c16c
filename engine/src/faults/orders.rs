//! The orders of a process, and what becomes of them.

use std::io::{BufRead, stdin};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Signal, getpid, kill_process};

/// Whether anything was ordered: looked at for every record, so not behind the lock.
static ORDERED: AtomicBool = AtomicBool::new(false);
static ORDERS: Mutex<Orders> = Mutex::new(Orders { armed: Vec::new(), mutants: Vec::new() });
static CLOCK_OFFSET_MS: AtomicI64 = AtomicI64::new(0);

struct Orders {
    armed: Vec<Armed>,
    /// With how often each has been asked for.
    mutants: Vec<(String, u64)>,
}

struct Armed {
    deed: Deed,
    point: String,
    /// How often the point is to be come to.
    left: u64,
}

#[derive(Clone, Copy)]
enum Deed {
    Kill,
    Panic,
}

/// Takes orders from the variable `TELEMILL_FAULTS`, then from standard input until it ends.
pub fn listen() {
    let standing = std::env::var("TELEMILL_FAULTS").unwrap_or_default();
    standing.lines().filter(|line| !line.is_empty()).for_each(take);
    std::thread::spawn(|| stdin().lock().lines().map_while(Result::ok).for_each(|line| take(&line)));
}

fn take(line: &str) {
    match order(line) {
        Some(()) => say(line),
        None => say(&format!("not understood: {line}")),
    }
}

fn order(line: &str) -> Option<()> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["kill", point, times] => arm(Deed::Kill, point, times.parse().ok()?),
        ["panic", point, times] => arm(Deed::Panic, point, times.parse().ok()?),
        ["mutant", name] => lock().mutants.push(((*name).to_owned(), 0)),
        ["clock", seconds] => {
            let seconds: i64 = seconds.parse().ok()?;
            CLOCK_OFFSET_MS.fetch_add(seconds * 1000, Ordering::Relaxed);
            return Some(());
        }
        _ => return None,
    }
    ORDERED.store(true, Ordering::Release);
    Some(())
}

fn arm(deed: Deed, point: &str, times: u64) {
    lock().armed.push(Armed { deed, point: point.to_owned(), left: times.max(1) });
}

/// A place where a process may be told to die or to panic.
///
/// # Panics
/// When it was told to.
#[inline]
pub fn point(name: &'static str) {
    if ORDERED.load(Ordering::Relaxed) {
        come_to(name);
    }
}

fn come_to(name: &'static str) {
    let mut orders = lock();
    let Some(at) = orders.armed.iter().position(|armed| armed.point == name) else { return };
    orders.armed[at].left -= 1;
    if orders.armed[at].left > 0 {
        return;
    }
    let armed = orders.armed.swap_remove(at);
    drop(orders);
    match armed.deed {
        Deed::Kill => {
            say(&format!("killed at {name}"));
            let _ = kill_process(getpid(), Signal::KILL);
            loop {
                std::thread::park();
            }
        }
        Deed::Panic => {
            say(&format!("panics at {name}"));
            panic!("injected at {name}");
        }
    }
}

/// Whether a mistake is to be made.
#[inline]
pub fn mutant(name: &'static str) -> bool {
    nth_mutant(name, 1)
}

/// Whether a mistake is to be made now: every `n`-th time.
#[inline]
pub fn nth_mutant(name: &'static str, n: u64) -> bool {
    if !ORDERED.load(Ordering::Relaxed) {
        return false;
    }
    let mut orders = lock();
    let Some((_, asked)) = orders.mutants.iter_mut().find(|(mutant, _)| mutant == name) else { return false };
    *asked += 1;
    asked.is_multiple_of(n)
}

/// How far the wall clock was moved, in milliseconds.
pub fn clock_offset_ms() -> i64 {
    CLOCK_OFFSET_MS.load(Ordering::Relaxed)
}

#[allow(clippy::disallowed_macros, reason = "a process that is about to die has no time for a log")]
fn say(what: &str) {
    eprintln!(r#"{{"code":"fault","what":"{what}"}}"#);
}

fn lock() -> MutexGuard<'static, Orders> {
    ORDERS.lock().unwrap_or_else(PoisonError::into_inner)
}
