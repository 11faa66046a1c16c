//! How long a record takes from PUBLISH to the device's update at the API, at a steady rate, with everything on.

use std::io::{BufRead, BufReader};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::Amount;
use crate::fleet::{Fleet, device};
use crate::subject::{Kind, Subject};

/// How many devices are listened to: enough for a 99th in a hundred, and few beside all that there are.
const LISTENED: usize = 5;
const HEARD_WITHIN: Duration = Duration::from_secs(20);

/// How long records took.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// Of so many.
    pub count: usize,
    /// Half of them took no longer.
    pub p50: Duration,
    /// 99 in 100 took no longer.
    pub p99: Duration,
    /// The longest.
    pub most: Duration,
    /// The latest that the generator was.
    pub late: Duration,
}

/// Runs the quick start at a steady rate and listens to some of the devices.
pub fn measure(amount: Amount) -> anyhow::Result<Latency> {
    let subject = Subject::start(Kind::Full)?;
    let start = Instant::now();
    let mut fleet = Fleet::connect(subject.mqtt(), amount.connections)?;
    let (took, heard) = channel();
    let listened = LISTENED.min(fleet.len());
    for number in 0..listened {
        listen(&format!("{}/api/v1/devices/{}/updates", subject.api(), device(number)), start, took.clone())?;
    }
    drop(took);
    // The first second is not counted: it is the one in which everything happens for the first time.
    let warm = amount.rate.div_ceil(fleet.len());
    let each = warm + (amount.heard.as_secs() as usize * amount.rate / fleet.len()).max(1);
    let late = fleet.pace(each, amount.rate, |out, number| {
        use std::fmt::Write as _;
        let sent = start.elapsed().as_micros();
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            r#"{{"temperature":21.5,"humidity":40,"battery":80,"rssi":-61,"firmware":"2.4.1","sequence":{number},"sent":{sent}}}"#
        );
    })?;
    let all = (0..each * listened).map(|_| heard.recv_timeout(HEARD_WITHIN));
    let all: Vec<Duration> = all.collect::<Result<_, _>>().context("fewer were heard of than were sent")?;
    let mut all = all.into_iter().skip(warm * listened).collect::<Vec<_>>();
    drop(fleet);
    subject.stop()?;
    ensure!(!all.is_empty(), "nothing was heard of");
    all.sort_unstable();
    let at = |share: usize| all[(all.len() * share / 100).min(all.len() - 1)];
    let found = Latency { count: all.len(), p50: at(50), p99: at(99), most: at(100), late };
    println!(
        "PUBLISH → update: p50 {:.1?}, p99 {:.1?}, longest {:.1?} of {}",
        found.p50, found.p99, found.most, found.count
    );
    Ok(found)
}

/// Listens to a device's updates; sends what each record took.
fn listen(url: &str, start: Instant, took: Sender<Duration>) -> anyhow::Result<()> {
    let response = ureq::get(url).call().context("the updates cannot be followed")?;
    let mut lines = BufReader::new(response.into_body().into_reader()).lines();
    // The first line says that the subscription stands.
    lines.next().context("the stream has ended")??;
    std::thread::spawn(move || -> anyhow::Result<()> {
        for line in lines {
            let line = line?;
            if line == "event: missed" {
                // Seen by who counts what was heard.
                bail!("updates were missed");
            }
            if line.starts_with("data: ") {
                took.send(since(line.as_bytes(), b"\"sent\":", start).context("no time in an update")?)?;
            }
        }
        Ok(())
    });
    Ok(())
}

/// How long it is since the microsecond that stands behind a key.
fn since(text: &[u8], key: &[u8], start: Instant) -> Option<Duration> {
    let now = start.elapsed();
    let at = text.windows(key.len()).position(|window| window == key)? + key.len();
    let digits = text[at..].iter().take_while(|byte| byte.is_ascii_digit());
    let micros = digits.fold(0, |number: u64, digit| 10 * number + u64::from(digit - b'0'));
    Some(now.saturating_sub(Duration::from_micros(micros)))
}
