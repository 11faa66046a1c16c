//! Rules on one device, as stories: what comes when, and what is said of it.

use telemill_engine::clock::{LogTime, Timestamp};
use telemill_engine::device_id::DeviceId;
use telemill_engine::keyed::{Effects, Input, Keyed, Now};
use telemill_engine::position::{Cursor, Position, TopicId};
use telemill_engine::record::{EventId, Kind, Record};
use telemill_engine::stage::StageError;
use ulid::Ulid;

use super::super::Session;
use super::shard::{Next, Shard, WALL, Ways};
use super::{RuleSpec, absence, condition, stage};

/// Seconds, and a payload; none: only time passes.
type Story<'a> = &'a [(u64, Option<&'a str>)];

fn told(rules: Vec<RuleSpec>, story: Story<'_>) -> Shard {
    let ways = Ways { timers_at_deadline: true, ..Ways::default() };
    let mut shard = Shard::new(stage(rules), 1, ways);
    for (offset, (at, payload)) in story.iter().enumerate() {
        let record = payload.map(|payload| (0, payload.to_owned()));
        shard.handle(offset, &Next { log: at * 1000, record, forgets: None });
    }
    shard
}

/// `second alert state #sequence active-since value`
fn lines(shard: &Shard) -> Vec<String> {
    let line = |record: &Record| {
        let form: serde_json::Value = serde_json::from_slice(&record.payload).unwrap();
        let seconds = |field: &str| (form[field].as_u64().unwrap() - WALL) / 1000;
        let text = |field: &str| form[field].as_str().unwrap().to_owned();
        let (at, active, value) = (seconds("at"), seconds("active_at"), &form["value"]);
        format!("{at} {} {} #{} since {active}: {value}", text("alertname"), text("state"), form["sequence"])
    };
    shard.journal.iter().map(line).collect()
}

fn check(rules: Vec<RuleSpec>, story: Story<'_>, expect: &[&str]) {
    assert_eq!(lines(&told(rules, story)), expect);
}

const HOT: Option<&str> = Some(r#"{"t":81}"#);
const HOTTER: Option<&str> = Some(r#"{"t":95}"#);
const WARM: Option<&str> = Some(r#"{"t":78}"#);
const COOL: Option<&str> = Some(r#"{"t":70}"#);
const SAYS_NOTHING: Option<&str> = Some(r#"{"t":"81"}"#);
const NO_JSON: Option<&str> = Some("garbage");

fn hot() -> RuleSpec {
    condition("Hot", "payload.t > 80")
}

#[test]
fn without_for_it_fires_at_once_and_ends_when_the_condition_does() {
    check(
        vec![hot()],
        &[(0, COOL), (1, HOT), (2, HOTTER), (3, SAYS_NOTHING), (4, NO_JSON), (5, COOL), (6, HOT)],
        &["1 Hot firing #1 since 1: 81", "5 Hot resolved #2 since 1: 70", "6 Hot firing #3 since 6: 81"],
    );
}

#[test]
fn for_is_counted_from_the_first_true_with_no_false_in_between() {
    check(
        vec![hot().held(30)],
        &[(0, HOT), (10, HOTTER), (29, SAYS_NOTHING), (31, None), (40, HOT), (50, COOL)],
        &["0 Hot pending #1 since 0: 81", "30 Hot firing #2 since 0: 95", "50 Hot resolved #3 since 0: 70"],
    );
    check(
        vec![hot().held(30)],
        &[(0, HOT), (20, COOL), (25, HOT), (50, None), (55, None)],
        &[
            "0 Hot pending #1 since 0: 81",
            "20 Hot resolved #2 since 0: 70",
            "25 Hot pending #3 since 25: 81",
            "55 Hot firing #4 since 25: 81",
        ],
    );
}

#[test]
fn a_timer_that_is_due_with_a_record_comes_before_it() {
    check(
        vec![hot().held(30)],
        &[(0, HOT), (30, COOL)],
        &["0 Hot pending #1 since 0: 81", "30 Hot firing #2 since 0: 81", "30 Hot resolved #3 since 0: 70"],
    );
}

#[test]
fn clear_keeps_it_firing_until_it_is_true() {
    check(
        vec![hot().clear("payload.t < 75")],
        &[(0, HOT), (1, WARM), (2, HOT), (3, COOL), (4, WARM)],
        &["0 Hot firing #1 since 0: 81", "3 Hot resolved #2 since 0: 70"],
    );
    // While it is pending there is nothing to clear: what is not true ends it.
    check(
        vec![hot().clear("payload.t < 75").held(30)],
        &[(0, HOT), (1, WARM), (40, None)],
        &["0 Hot pending #1 since 0: 81", "1 Hot resolved #2 since 0: 78"],
    );
}

#[test]
fn an_absence_fires_with_time_and_ends_with_a_record() {
    let rules = || vec![absence("Silent", 600)];
    check(
        rules(),
        &[(0, COOL), (500, NO_JSON), (601, None), (1_099, None), (1_100, None), (2_000, None), (2_001, COOL)],
        &["1100 Silent firing #1 since 1100: null", "2001 Silent resolved #2 since 1100: null"],
    );
    let shard = told(rules(), &[(0, COOL), (500, COOL)]);
    assert_eq!(shard.wake(0), Some(LogTime(600_000)), "it is asked for once, not with each record");
    assert!(!shard.may_passivate(0));
}

#[test]
fn rules_do_not_know_of_each_other() {
    check(
        vec![hot().held(30), condition("Odd", "payload.odd == true"), absence("Silent", 20)],
        &[(0, HOT), (5, Some(r#"{"odd":true}"#)), (29, None), (45, None), (46, COOL)],
        &[
            "0 Hot pending #1 since 0: 81",
            "5 Odd firing #1 since 5: true",
            "25 Silent firing #1 since 25: null",
            "30 Hot firing #2 since 0: 81",
            "46 Hot resolved #3 since 0: 70",
            "46 Silent resolved #2 since 25: null",
        ],
    );
}

#[test]
fn alerts_of_a_device_that_is_forgotten_are_resolved_and_it_comes_back_as_a_new_one() {
    let mut shard = told(vec![hot(), hot_for_long(), absence("Silent", 600)], &[(0, HOT), (10, HOT)]);
    shard.handle(2, &Next { log: 20_000, record: None, forgets: Some(0) });
    let expect = [
        "0 Hot firing #1 since 0: 81",
        "0 Long pending #1 since 0: 81",
        "20 Hot resolved #2 since 0: null",
        "20 Long resolved #2 since 0: null",
    ];
    assert_eq!(lines(&shard), expect);
    let says = |record: &Record| serde_json::from_slice::<serde_json::Value>(&record.payload).unwrap();
    let forgotten: Vec<_> = shard.journal.iter().map(|record| says(record).get("forgotten").is_some()).collect();
    assert_eq!(forgotten, [false, false, true, true], "it is said why");
    shard.handle(3, &Next { log: 30_000, record: Some((0, r#"{"t":81}"#.to_owned())), forgets: None });
    assert_eq!(lines(&shard)[4..], ["30 Hot firing #1 since 30: 81", "30 Long pending #1 since 30: 81"]);
    assert_ne!(says(&shard.journal[0])["fingerprint"], says(&shard.journal[4])["fingerprint"]);
}

fn hot_for_long() -> RuleSpec {
    condition("Long", "payload.t > 80").held(100)
}

#[test]
fn texts_print_what_was_measured_also_when_a_timer_fires() {
    let texts = [("a", "{{ device_id }} at {{ value }} {{ payload.unit }}"), ("b", "{{ kind }} {{ timestamp }}")];
    let rule = hot().held(30).annotations(&texts).label("severity", "critical").label("site", "{{ payload.site }}");
    let story = [(0, Some(r#"{"t":81,"unit":"°C","site":"x"}"#)), (9, Some(r#"{"t":82.5,"unit":"°C"}"#)), (30, None)];
    let shard = told(vec![rule], &story);
    let form: serde_json::Value = serde_json::from_slice(&shard.journal[1].payload).unwrap();
    assert_eq!(form["state"], "firing");
    assert_eq!(form["value"], 82.5);
    assert_eq!(form["annotations"]["a"], "d0 at 82.5 °C");
    assert_eq!(form["annotations"]["b"], format!("timer {}", WALL / 1000 + 30));
    assert_eq!(form["labels"]["severity"], "critical");
    assert_eq!(form["labels"]["site"], "(no data)", "the record that it held for last has no site");
}

#[test]
fn a_device_without_alerts_may_leave_memory_at_any_time() {
    let held = || vec![hot().held(30)];
    assert!(told(held(), &[(0, COOL)]).may_passivate(0));
    assert!(!told(held(), &[(0, HOT)]).may_passivate(0), "pending");
    assert!(!told(held(), &[(0, HOT), (30, None)]).may_passivate(0), "firing");
    let over = told(held(), &[(0, HOT), (1, COOL)]);
    assert!(over.may_passivate(0));
    assert_eq!(over.wake(0), None, "the wake-up is withdrawn");
    assert!(!over.session(0).alerts.is_empty(), "the sequence goes on");
}

#[test]
fn what_rules_of_other_names_kept_is_dropped() {
    let mut shard = told(vec![hot(), condition("Warm", "payload.t > 60").held(30)], &[(0, HOT)]);
    let checkpoint = shard.checkpoint();
    shard.stage = stage(vec![hot(), absence("Silent", 60)]);
    let end = shard.journal.len();
    shard.restore(&checkpoint, end, false);
    shard.handle(1, &Next { log: 40_000, record: Some((0, r#"{"t":81}"#.to_owned())), forgets: None });
    assert_eq!(shard.journal.len(), end, "`Hot` still fires, `Warm` says nothing more");
    assert_eq!(shard.session(0).alerts.as_slice().len(), 1);
    assert_eq!(shard.wake(0), Some(LogTime(100_000)), "a new absence counts from the next record");
    shard.handle(2, &Next { log: 50_000, record: Some((0, r#"{"t":70}"#.to_owned())), forgets: None });
    assert!(lines(&shard).last().unwrap().starts_with("50 Hot resolved #2"));
}

#[test]
fn an_absence_that_comes_back_does_not_count_from_long_ago() {
    let mut shard = told(vec![absence("Silent", 60)], &[(0, COOL)]);
    for (offset, rules) in [(1, vec![hot()]), (2, vec![absence("Silent", 60)])] {
        let checkpoint = shard.checkpoint();
        shard.stage = stage(rules);
        shard.restore(&checkpoint, 0, false);
        if offset == 1 {
            shard.handle(offset, &Next { log: 30_000, record: Some((0, r#"{"t":1}"#.to_owned())), forgets: None });
        }
    }
    shard.handle(3, &Next { log: 500_000, record: None, forgets: None });
    assert_eq!(lines(&shard), [""; 0]);
}

#[test]
fn a_time_line_that_begins_anew_does_not_hold_an_alert_for_ever() {
    let mut shard = told(vec![hot().held(30)], &[(1_000, HOT)]);
    let nothing = Shard::new(stage(vec![hot()]), 1, Ways::default()).checkpoint();
    shard.restore(&nothing, 0, true);
    assert_eq!(lines(&shard), ["1000 Hot pending #1 since 1000: 81"]);
    shard.handle(0, &Next { log: 0, record: Some((0, r#"{"t":81}"#.to_owned())), forgets: None });
    shard.handle(1, &Next { log: 29_000, record: None, forgets: None });
    shard.handle(2, &Next { log: 30_000, record: None, forgets: None });
    assert!(lines(&shard).last().unwrap().starts_with("30 Hot firing #2"), "{:?}", lines(&shard));
}

#[test]
fn a_record_goes_by_its_own_place_however_late_it_is_handled() {
    let mut shard = told(vec![hot()], &[(0, HOT), (1, COOL)]);
    let nothing = Shard::new(stage(vec![hot()]), 1, Ways::default()).checkpoint();
    shard.restore(&nothing, 0, true);
    let record = |at: u64, payload: Option<&str>| Next {
        log: at * 1000,
        record: Some((0, payload.unwrap().to_owned())),
        forgets: None,
    };
    // They waited behind a record of the device that was refused: other devices' records were handled meanwhile.
    shard.pass_elsewhere(9);
    shard.handle(0, &record(0, HOT));
    shard.handle(1, &record(1, COOL));
    assert_eq!(lines(&shard).len(), 2, "the journal has told of both");
    shard.handle(2, &record(2, HOT));
    assert!(lines(&shard)[2].starts_with("2 Hot firing #3"));
}

#[test]
fn a_topic_that_is_gone_does_not_hold_an_alert_for_ever() {
    let check = |story: Story<'_>, rule: RuleSpec, expect: &[&str]| {
        let mut shard = told(vec![rule], story);
        let before = shard.journal.len();
        let nothing = Shard::new(stage(vec![hot()]), 1, Ways::default()).checkpoint();
        shard.restore(&nothing, 0, true);
        shard.rename_topics();
        for (offset, at) in [(0, 30), (1, 31)] {
            shard.handle(offset, &Next { log: at * 1000, record: Some((0, r#"{"t":70}"#.to_owned())), forgets: None });
        }
        assert_eq!(lines(&shard)[before..], *expect);
    };
    check(&[(30, HOT)], hot(), &["31 Hot resolved #2 since 30: 70"]);
    // It fired before the record of that instant.
    check(&[(0, HOT), (30, None)], hot().held(30), &["30 Hot resolved #3 since 0: 70"]);
}

#[test]
fn what_the_journal_holds_besides_is_passed_over_or_refused() {
    let journalled = told(vec![hot()], &[(0, HOT)]).journal.remove(0);
    let stage = stage(vec![hot()]);
    let device: DeviceId = "d0".parse().unwrap();
    let cursor = Cursor::default();
    let cause = Position { topic: TopicId::default(), partition: 0, offset: 0, output: 0 };
    let now = Now { log: LogTime(0), wall: Timestamp(WALL), cursor: &cursor, cause };
    let apply = |session: &mut Session, edit: &dyn Fn(String) -> String| -> Result<(), StageError> {
        let text = edit(String::from_utf8(journalled.payload.to_vec()).unwrap());
        let record = Record { message: Some(text.into()), ..journalled.clone() };
        let mut out = Effects::default();
        stage.step(&device, session, Input::Journal(&record), now, &mut out)
    };
    let mut session = Session::default();
    apply(&mut session, &|text| text.replace("Hot", "Gone")).unwrap();
    assert_eq!(session, Session::default(), "no rule of that name");
    apply(&mut session, &|text| text).unwrap();
    let known = session.clone();
    let other = Ulid::from_parts(1, 1).to_string();
    let own = known.incarnation().to_string();
    apply(&mut session, &|text| text.replace(&own, &other).replace(r#""sequence":1"#, r#""sequence":9"#)).unwrap();
    assert_eq!(session, known, "of another incarnation");
    apply(&mut session, &|text| text.replace("firing", "resolved")).unwrap();
    assert_eq!(session, known, "known already");
    apply(&mut session, &|_| "{}".to_owned()).unwrap_err();
    assert_eq!(session, known);
}

#[test]
fn every_kind_of_record_is_looked_at() {
    let stage = stage(vec![condition("Gone", r#"kind == "presence" && payload.state == "offline""#)]);
    let device: DeviceId = "d0".parse().unwrap();
    let mut session = Session::default();
    let cursor = Cursor::default();
    let cause = Position { topic: TopicId::default(), partition: 0, offset: 0, output: 0 };
    let now = Now { log: LogTime(0), wall: Timestamp(WALL), cursor: &cursor, cause };
    let payload = r#"{"v":1,"state":"offline"}"#.into();
    let record = Record::new(EventId(Ulid::from_parts(1, 1)), device.clone(), Kind::Presence, payload, now.wall);
    let mut out = Effects::default();
    stage.step(&device, &mut session, Input::Record(&record), now, &mut out).unwrap();
    assert_eq!(out.emitted().len(), 1);
}
