//! What a source lives through: a reader that does not read, a broker that goes, commands on their way.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use telemill_engine::clock::Timestamp;
use telemill_engine::ports::{Command, Ports};
use telemill_engine::record::{EventId, Kind};
use telemill_engine::source::{ResumeAt, SourceEvent};
use telemill_services::{Kafka, eventually, unique_name};
use ulid::Ulid;

use super::driven::{Driven, number, numbers};
use super::fixture::{DEADLINE, Fixture, Options};

const START: u64 = 1_700_000_000_000;

/// The state of the group and how many members it has.
fn group(fixture: &Fixture) -> (String, usize) {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &fixture.brokers).create().unwrap();
    let list = client.fetch_group_list(Some(&fixture.group), DEADLINE).unwrap();
    let group = &list.groups()[0];
    (group.state().to_owned(), group.members().len())
}

#[tokio::test]
async fn a_reader_that_does_not_read_stays_a_member_and_loses_nothing() {
    let fixture = Fixture::new(1, 1);
    fixture.create_topics().await;
    let total = 12_000u64;
    for chunk in 0..total / 1000 {
        fixture.fill(chunk * 1000..(chunk + 1) * 1000, 2000).await;
    }
    // The poll interval is twice the session timeout.
    let options = Options { session_timeout: Some("6s"), ..Options::default() };
    let mut source = fixture.build(options).await.unwrap();
    source.assigned(ResumeAt::Committed).await;
    let mut next = 0;
    let mut read = async |source: &mut Driven, count: u64| {
        let until = next + count;
        while next < until {
            let batch = source.batch((until - next) as usize).await;
            for record in &batch.records {
                assert_eq!(number(record), next);
                next += 1;
            }
            source.acknowledge(&batch).await;
        }
    };
    read(&mut source, 10).await;
    tokio::time::sleep(Duration::from_secs(14)).await;
    assert_eq!(group(&fixture), ("Stable".to_owned(), 1));
    read(&mut source, total - 10).await;
    fixture.until_committed(0, &[total as i64]).await;
    source.close().await;
}

#[tokio::test]
async fn a_broker_that_goes_and_comes_back_is_waited_for() {
    let kafka = Kafka::start();
    let fixture = Fixture::on(&kafka.brokers(), 2, 2);
    fixture.create_topics().await;
    let mut source = fixture.start().await;
    source.assigned(ResumeAt::Committed).await;
    fixture.produce(&fixture.topics[0], 0, 0, START).await;
    let batch = source.batch(10).await;
    fixture.until_committed(0, &[0, 0]).await;
    kafka.kill9();
    source.acknowledge(&batch).await;
    assert!(source.within(Duration::from_secs(5)).await.is_none(), "an outage is no failure");
    kafka.restart();
    fixture.produce(&fixture.topics[1], 0, 1, START + 1).await;
    // The member may have to join again; then it is told so, and goes on from what is safe.
    let mut seen = Vec::new();
    while !seen.contains(&1) {
        match source.next(10).await.unwrap() {
            SourceEvent::Batch(batch) => {
                seen.extend(numbers(&batch.records));
                source.acknowledge(&batch).await;
            }
            SourceEvent::Assigned { partitions, reply } => {
                let _ = reply.send(partitions.iter().map(|p| (*p, ResumeAt::Committed)).collect());
            }
            SourceEvent::Revoked { done, .. } => drop(done.send(())),
            SourceEvent::End => panic!("it has not ended"),
        }
    }
    fixture.until_committed(0, &[1, 1]).await;
    source.close().await;
}

#[tokio::test]
async fn a_command_goes_through_the_log() {
    let mut fixture = Fixture::new(1, 1);
    fixture.topics.push(format!("{}-commands", unique_name("c")));
    let ports = Ports::default();
    let mut source = fixture.build_with(Options::default(), ports.clone()).await.unwrap();
    source.assigned(ResumeAt::Committed).await;
    let command = Command {
        id: EventId(Ulid::generate()),
        device: "d1".parse().unwrap(),
        body: bytes::Bytes::from_static(br#"{"set": 1}"#),
        accepted_at: Timestamp(START),
        ttl: Some(Duration::from_secs(5)),
    };
    ports.command_log().unwrap().append(command.clone()).await.unwrap();
    let record = &source.records(1).await[0];
    assert_eq!((&record.kind, record.id, &record.device), (&Kind::Command, command.id, &command.device));
    assert_eq!((&record.payload, record.received_at), (&command.body, command.accepted_at));
    let message: serde_json::Value = serde_json::from_slice(record.message.as_ref().unwrap()).unwrap();
    assert_eq!(message["expires_at"], START + 5000);
    source.close().await;
}

#[tokio::test]
async fn commands_that_cannot_be_written_are_refused_in_time() {
    let kafka = Kafka::start();
    let mut fixture = Fixture::on(&kafka.brokers(), 0, 1);
    fixture.topics.push(format!("{}-commands", unique_name("c")));
    let ports = Ports::default();
    let source = fixture.build_with(Options::default(), ports.clone()).await.unwrap();
    let command = |n| Command {
        id: EventId(Ulid::from_parts(n, 1)),
        device: "d1".parse().unwrap(),
        body: bytes::Bytes::from_static(b"{}"),
        accepted_at: Timestamp(START),
        ttl: None,
    };
    let log = ports.command_log().unwrap();
    log.append(command(1)).await.unwrap();
    kafka.kill9();
    let refused = tokio::time::timeout(DEADLINE, log.append(command(2))).await.expect("an answer in time");
    assert!(refused.is_err());
    kafka.restart();
    eventually(DEADLINE, "commands to be taken again", async || log.append(command(3)).await.ok()).await;
    drop(source);
}
