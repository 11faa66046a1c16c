//! What the quick start shows on a terminal.

use std::process::Command;

use telemill_services::wait_until;

use crate::support::{DEADLINE, Local, SmallDisk, Terminal};

/// The lines that stayed at the bottom, one after the other: records in, and what stands behind the rate.
fn live(terminal: &Terminal) -> Vec<(u64, String)> {
    let line = |text: &str| {
        let (_, line) = text.split_once("quickstart: ")?;
        let (received, rest) = line.split_once(" records in, ")?;
        let (_rate, rest) = rest.split_once("/s, ")?;
        Some((received.parse().ok()?, rest.trim_end().to_owned()))
    };
    terminal.text().split(['\r', '\n']).filter_map(line).collect()
}

#[test]
fn a_terminal_shows_where_to_look_what_goes_on_and_alerts_in_colour_until_ctrl_c() {
    let quick_start = Local::new("terminal");
    let mut terminal = quick_start.on_a_terminal(Command::new("env"), &quick_start.data());
    let shows = |terminal: &Terminal, what: &str| {
        wait_until(DEADLINE, &format!("`{what}` on the terminal"), || terminal.raw().contains(what).then_some(()));
    };
    shows(&terminal, "\u{1b}[1mquickstart runs\u{1b}[0m, and 100 simulated devices publish to it\r\n");
    shows(&terminal, "  alerts, live     http://127.0.0.1:");
    let first = wait_until(DEADLINE, "a line of rates", || {
        live(&terminal).into_iter().find(|(_, rest)| rest.starts_with("100 devices online, "))
    });
    assert!(first.1.ends_with("iB on disk"), "{first:?}");
    wait_until(DEADLINE, "a line that has moved on", || {
        live(&terminal).iter().any(|(n, _)| *n > first.0).then_some(())
    });
    shows(&terminal, "\u{1b}[33mpending \u{1b}[0m DeviceOverheating device-100 at 8");
    shows(&terminal, "\u{1b}[31;1mfiring  \u{1b}[0m DeviceOverheating device-100 at 8");

    terminal.ctrl_c();
    assert_eq!(terminal.exit_code(DEADLINE), 0);
    let (_, end) = terminal
        .text()
        .rsplit_once("sources stop")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .expect("it says that it drains");
    assert!(end.contains("everything received is resolved"), "{end}");
    assert!(!end.contains(" records in, "), "the line that stayed is gone: {end}");
}

#[test]
fn a_terminal_without_colours_shows_the_same() {
    let quick_start = Local::new("no-color");
    let mut command = Command::new("env");
    command.arg("NO_COLOR=1");
    let mut terminal = quick_start.on_a_terminal(command, &quick_start.data());
    for what in
        ["quickstart runs, and 100 simulated devices publish to it\r\n", "firing   DeviceOverheating device-100 at 8"]
    {
        wait_until(DEADLINE, &format!("`{what}` on the terminal"), || terminal.raw().contains(what).then_some(()));
    }
    terminal.ctrl_c();
    assert_eq!(terminal.exit_code(DEADLINE), 0);
    let raw = terminal.raw();
    let styles = raw.split("\u{1b}[").skip(1).filter_map(|code| {
        let end = code.find(|c: char| !c.is_ascii_digit() && c != ';')?;
        code[end..].starts_with('m').then(|| &code[..end])
    });
    assert_eq!(styles.collect::<Vec<_>>(), Vec::<&str>::new(), "{raw}");
}

#[test]
fn a_terminal_says_that_the_disk_is_full_and_that_it_goes_on() {
    let disk = SmallDisk::new("terminal-disk", "96m");
    let mut quick_start = Local::new("terminal-disk");
    quick_start.keep_free("8MiB");
    let mut terminal = quick_start.on_a_terminal(disk.command(), &disk.path().join("data"));
    let moves = |terminal: &Terminal, from: usize| {
        wait_until(DEADLINE, "records that come in", || {
            let lines = live(terminal);
            let moved = lines.get(from).zip(lines.last()).is_some_and(|(first, last)| last.0 > first.0 + 100);
            let waits = lines.last().is_some_and(|(_, rest)| rest.contains("waiting"));
            (moved && !waits).then_some(lines.len())
        })
    };
    moves(&terminal, 0);
    disk.fill();
    let waiting = wait_until(DEADLINE, "a line that says what waits", || {
        live(&terminal).into_iter().map(|(_, rest)| rest).find(|rest| rest.contains("waiting: "))
    });
    assert!(waiting.contains("router"), "{waiting}");
    let why = format!("the disk of {}/data is full", disk.path().display());
    wait_until(DEADLINE, "the reason above it", || terminal.text().contains(&why).then_some(()));
    disk.empty();
    let there = live(&terminal).len();
    moves(&terminal, there);
    terminal.ctrl_c();
    assert_eq!(terminal.exit_code(DEADLINE), 0);
}
