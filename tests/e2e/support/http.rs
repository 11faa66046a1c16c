//! A small HTTP client, and a reader of server-sent events.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use serde_json::Value;

use super::DEADLINE;

/// A client of one server.
#[derive(Clone)]
pub struct Http {
    /// Where it is.
    pub url: String,
    agent: ureq::Agent,
}

/// What a server said.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Http {
    pub fn new(url: &str) -> Http {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(DEADLINE));
        Http { url: url.to_owned(), agent: config.build().into() }
    }

    pub fn get(&self, path: &str) -> Answer {
        answer(self.agent.get(format!("{}{path}", self.url)).call())
    }

    pub fn post(&self, path: &str, body: &str) -> Answer {
        answer(self.agent.post(format!("{}{path}", self.url)).content_type("application/json").send(body))
    }

    /// As a browser posts it for a page of `origin`.
    pub fn post_from(&self, origin: &str, path: &str, body: &str) -> Answer {
        answer(self.agent.post(format!("{}{path}", self.url)).header("origin", origin).send(body))
    }

    /// Subscribes to server-sent events, behind an id where one is given. Returns when the subscription stands.
    pub fn events(&self, path: &str, last: Option<&str>) -> Events {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut request = agent.get(format!("{}{path}", self.url)).header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let mut response = request.call().expect("the server answers");
        if response.status() != 200 {
            panic!("{}: {}", response.status(), response.body_mut().read_to_string().unwrap_or_default());
        }
        let mut lines = BufReader::new(response.into_body().into_reader()).lines();
        assert_eq!(lines.next().map(Result::unwrap).as_deref(), Some(": subscribed"));
        Events { heard: events(lines) }
    }
}

fn answer(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    match result {
        Ok(mut response) => {
            let status = response.status().as_u16();
            Answer { status, body: response.body_mut().read_to_string().unwrap_or_default() }
        }
        // A server that is not there (yet, or any more) is an answer, too.
        Err(error) => Answer { status: 0, body: error.to_string() },
    }
}

/// Server-sent events as they come: id and JSON.
pub struct Events {
    heard: Receiver<(String, Value)>,
}

impl Events {
    /// The next event.
    pub fn next(&self) -> (String, Value) {
        self.heard.recv_timeout(DEADLINE).expect("an event, or the stream has ended")
    }

    /// The next event, if there is one by then.
    pub fn within(&self, time: Duration) -> Option<(String, Value)> {
        self.heard.recv_timeout(time).ok()
    }
}

fn events(lines: std::io::Lines<BufReader<impl Read + Send + 'static>>) -> Receiver<(String, Value)> {
    let (events, heard) = sync_channel(10_000);
    std::thread::spawn(move || {
        let mut id = String::new();
        for line in lines.map_while(Result::ok) {
            if let Some(new) = line.strip_prefix("id: ") {
                id = new.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                let data = serde_json::from_str(data).expect("events are JSON");
                if events.send((id.clone(), data)).is_err() {
                    return;
                }
            }
        }
    });
    heard
}
