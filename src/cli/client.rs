//! Talking to a running instance over its HTTP API.

use std::io::Read;

use anyhow::{Context, anyhow};
use clap::Args;
use serde_json::Value;
use ureq::http::StatusCode;

use super::BadInput;

/// Which instance.
#[derive(Args)]
pub struct Client {
    /// The instance's address.
    #[arg(long, env = "TELEMILL_URL", default_value = "http://127.0.0.1:7400", global = true, value_parser = address)]
    url: String,
}

impl Client {
    /// The JSON at a path.
    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request = self.agent().get(self.at(path)).call();
        read_json(request.with_context(|| format!("cannot reach {}", self.url))?)
    }

    /// Posts JSON to a path.
    pub fn post(&self, path: &str, body: &str) -> anyhow::Result<Value> {
        let request = self.agent().post(self.at(path)).content_type("application/json").send(body);
        read_json(request.with_context(|| format!("cannot reach {}", self.url))?)
    }

    /// A stream of server-sent events, behind `last` if given.
    pub fn events(&self, path: &str, last: Option<&str>) -> anyhow::Result<impl Read + use<>> {
        let mut request = self.agent().get(self.at(path)).header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let mut response = request.call().with_context(|| format!("cannot reach {}", self.url))?;
        if !response.status().is_success() {
            let status = response.status();
            return Err(refusal(status, &response.body_mut().read_to_string().unwrap_or_default()));
        }
        Ok(response.into_body().into_reader())
    }

    fn agent(&self) -> ureq::Agent {
        ureq::Agent::config_builder().http_status_as_error(false).build().into()
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url.trim_end_matches('/'))
    }
}

/// The query of a path: what is given of it.
pub fn query(parameters: &[(&str, Option<&str>)]) -> String {
    let given: Vec<_> =
        parameters.iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded((*value)?)))).collect();
    if given.is_empty() { String::new() } else { format!("?{}", given.join("&")) }
}

/// Percent-encoded, so that whatever was typed is one value.
pub fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn read_json(mut response: ureq::http::Response<ureq::Body>) -> anyhow::Result<Value> {
    let status = response.status();
    let body = response.body_mut().read_to_string().context("the answer broke off")?;
    if !status.is_success() {
        return Err(refusal(status, &body));
    }
    serde_json::from_str(&body).context("the answer is not JSON; is this a Telemill instance?")
}

/// What the server refused: what was given is at fault when it says so, and only then.
fn refusal(status: StatusCode, body: &str) -> anyhow::Error {
    let said = format!("{} ({})", detail(body), status.as_u16());
    match status {
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => BadInput(said).into(),
        _ => anyhow!(said),
    }
}

/// An address that can be asked at all.
fn address(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("http://").ok_or("it is to be http://host[:port]; this version speaks no TLS")?;
    let uri: Result<ureq::http::Uri, _> = text.parse();
    let fit = !host.is_empty() && uri.is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty()));
    fit.then(|| text.to_owned()).ok_or_else(|| "it is to be http://host[:port]".to_owned())
}

/// What a problem document says, or the body where it is none.
fn detail(body: &str) -> String {
    let problem: Option<Value> = serde_json::from_str(body).ok();
    let detail = problem.as_ref().and_then(|p| p.get("detail")).and_then(Value::as_str);
    detail.unwrap_or(body).to_owned()
}
