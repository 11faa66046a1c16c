//! Which of several topologies in one process a request is for.
//!
//! A request may name it (`?topology=NAME`). Else it is the one that the device belongs to, or the only one that can do
//! what is asked. Where that leaves more than one, the caller is asked to name it: nothing is guessed.

use std::sync::Arc;

use crate::device_id::DeviceId;
use crate::ports::{AlertLog, CommandLog};

use super::{ApiError, Running, does_not_run};

/// What is known of a device, by those topologies that know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// It has a session; whether it is online.
    Here(bool),
    /// Its store has it.
    Stored,
    /// Not at all.
    No,
}

/// Where a command for a device goes, and whether the device is online.
pub(super) struct Recipient {
    pub(super) log: Arc<dyn CommandLog>,
    pub(super) online: bool,
}

/// The topology that takes a command for this device.
pub(super) async fn recipient(
    running: &[Running],
    named: Option<&str>,
    device: &DeviceId,
) -> Result<Recipient, ApiError> {
    let mut logs: Vec<_> = running.iter().map(|r| r.view.ports.command_log()).collect();
    let mut known: Vec<Known> = Vec::with_capacity(running.len());
    for topology in running {
        known.push(match topology.view.directory.get(device) {
            Some(presence) => Known::Here(presence.online),
            None if topology.view.directory.is_passivated(device) => Known::Here(false),
            None => Known::No,
        });
    }
    // The stores are asked only when no session answers for the device.
    if known.iter().all(|known| *known == Known::No) {
        for (topology, known) in running.iter().zip(&mut known) {
            let Some(store) = topology.view.ports.device_store() else { continue };
            let last = store.last_state(device).await.map_err(|error| ApiError::unavailable(error.to_string()))?;
            if last.is_some() {
                *known = Known::Stored;
            }
        }
    }
    let names: Vec<&str> = running.iter().map(|r| &*r.view.name).collect();
    let takes: Vec<bool> = logs.iter().map(Option::is_some).collect();
    let chosen = choose(&names, &takes, &known, named, device)?;
    let online = match known[chosen] {
        Known::Here(online) => online,
        Known::Stored | Known::No => known.contains(&Known::Here(true)),
    };
    let log = logs.swap_remove(chosen).ok_or_else(|| ApiError::not_offered("this topology takes no commands"))?;
    Ok(Recipient { log, online })
}

/// The index of the topology that takes the command.
fn choose(
    names: &[&str],
    takes: &[bool],
    known: &[Known],
    named: Option<&str>,
    device: &DeviceId,
) -> Result<usize, ApiError> {
    let able: Vec<usize> = (0..names.len()).filter(|i| takes[*i]).collect();
    if able.is_empty() {
        return Err(ApiError::not_offered("no topology here takes commands"));
    }
    let named = match named {
        None => None,
        Some(name) => Some(index_of(names, name)?),
    };
    if let Some(index) = named.filter(|index| !takes[*index]) {
        return Err(ApiError::not_offered(format!("topology `{}` takes no commands", names[index])));
    }
    if known.iter().all(|known| *known == Known::No) {
        return Err(ApiError::not_found(format!("device {device} is not known")));
    }
    if let Some(index) = named {
        return Ok(index);
    }
    let best = [Known::Here(true), Known::Here(false), Known::Stored];
    let those = |wanted: Known| able.iter().copied().filter(|i| known[*i] == wanted).collect::<Vec<_>>();
    let candidates = best.into_iter().map(those).find(|those| !those.is_empty()).unwrap_or(able);
    match candidates.as_slice() {
        [one] => Ok(*one),
        several => Err(ApiError::conflict(ask(several.iter().map(|i| names[*i]), "can take this command"))),
    }
}

/// The alert log that is to be followed: named by topology and stage, or the only one there is.
pub(super) fn alert_log(
    running: &[Running],
    topology: Option<&str>,
    stage: Option<&str>,
) -> Result<Arc<dyn AlertLog>, ApiError> {
    let names: Vec<&str> = running.iter().map(|r| &*r.view.name).collect();
    if let Some(name) = topology {
        index_of(&names, name)?;
    }
    let mut places = Vec::new();
    let mut logs = Vec::new();
    for r in running {
        for name in r.view.alert_stages() {
            if let Some(log) = r.view.ports.alert_log(name) {
                places.push((&*r.view.name, &**name));
                logs.push(log);
            }
        }
    }
    pick(&places, topology, stage).map(|index| logs.swap_remove(index))
}

/// The index of the one place, topology and stage, that fits.
fn pick(places: &[(&str, &str)], topology: Option<&str>, stage: Option<&str>) -> Result<usize, ApiError> {
    let fits = |place: &(&str, &str)| {
        topology.is_none_or(|wanted| wanted == place.0) && stage.is_none_or(|wanted| wanted == place.1)
    };
    let fit: Vec<usize> = (0..places.len()).filter(|index| fits(&places[*index])).collect();
    let mut of: Vec<&str> = fit.iter().map(|index| places[*index].0).collect();
    of.dedup();
    match (fit.as_slice(), of.as_slice()) {
        ([one], _) => Ok(*one),
        ([], _) => Err(ApiError::not_offered("no stage here keeps such an alert log")),
        (several, [name]) => {
            let stages: Vec<_> = several.iter().map(|index| format!("?stage={}", places[*index].1)).collect();
            let stages = stages.join(", ");
            Err(ApiError::bad_request(format!("topology `{name}` keeps several alert logs; say which: {stages}")))
        }
        (_, names) => Err(ApiError::bad_request(ask(names.iter().copied(), "keep an alert log"))),
    }
}

fn index_of(names: &[&str], name: &str) -> Result<usize, ApiError> {
    names.iter().position(|known| *known == name).ok_or_else(|| does_not_run(name))
}

/// Asks which of these topologies is meant.
pub(super) fn ask<'n>(names: impl Iterator<Item = &'n str>, what: &str) -> String {
    let names: Vec<_> = names.map(|name| format!("?topology={name}")).collect();
    format!("several topologies {what}; say which: {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["a", "b", "c"];

    #[test]
    fn a_command_goes_to_the_topology_that_knows_the_device() {
        use Known::{Here, No, Stored};
        let check = |takes: [bool; 3], known: [Known; 3], named: Option<&str>, expect: Result<&str, &str>| {
            let device = "d1".parse().unwrap();
            let chosen = choose(&NAMES, &takes, &known, named, &device).map(|index| NAMES[index]);
            match (chosen.map_err(|error| error.to_string()), expect) {
                (Ok(chosen), Ok(expect)) => assert_eq!(chosen, expect),
                (Err(said), Err(expect)) => assert!(said.contains(expect), "{said}"),
                (chosen, _) => panic!("{takes:?} {known:?} {named:?}: {chosen:?}, not {expect:?}"),
            }
        };
        let all = [true; 3];
        check(all, [No, Here(true), No], None, Ok("b"));
        check(all, [Here(false), Here(true), No], None, Ok("b"));
        check(all, [No, Here(false), No], None, Ok("b"));
        check(all, [No, No, Stored], None, Ok("c"));
        check([true, false, false], [No, Here(true), No], None, Ok("a"));
        check([true, true, false], [No, No, Here(true)], None, Err("?topology=a, ?topology=b"));
        check(all, [Here(true), Here(true), No], None, Err("?topology=a, ?topology=b"));
        check(all, [Here(true), Here(true), No], Some("b"), Ok("b"));
        check(all, [No, Stored, Stored], None, Err("conflict"));
        check(all, [No, No, No], None, Err("device d1 is not known"));
        check(all, [No, Stored, No], Some("x"), Err("topology `x` does not run here"));
        check([true, false, true], [No, Stored, No], Some("b"), Err("`b` takes no commands"));
        check([false; 3], [No, Here(true), No], None, Err("no topology here takes commands"));
    }

    #[test]
    fn an_alert_log_is_the_only_one_or_the_one_that_is_named() {
        let check = |places: &[(&str, &str)], topology, stage, expect: Result<usize, &str>| match (
            pick(places, topology, stage).map_err(|error| error.to_string()),
            expect,
        ) {
            (Ok(index), Ok(expect)) => assert_eq!(index, expect),
            (Err(said), Err(expect)) => assert!(said.contains(expect), "{said}"),
            (picked, _) => panic!("{places:?} {topology:?} {stage:?}: {picked:?}, not {expect:?}"),
        };
        let two = [("a", "alerts"), ("b", "alerts")];
        let inner = [("a", "alerts"), ("b", "loud"), ("b", "quiet")];
        check(&[("a", "alerts")], None, None, Ok(0));
        check(&[], None, None, Err("no stage here keeps"));
        check(&two, None, None, Err("say which: ?topology=a, ?topology=b"));
        check(&two, Some("b"), None, Ok(1));
        check(&inner, Some("b"), None, Err("?stage=loud, ?stage=quiet"));
        check(&inner, Some("b"), Some("quiet"), Ok(2));
        check(&inner, None, Some("loud"), Ok(1));
        check(&inner, Some("a"), Some("loud"), Err("no stage here keeps"));
    }
}
