//! Talking to a running instance over its HTTP API.

use std::io::Read;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;

/// Which instance.
#[derive(Args)]
pub struct Client {
    /// The instance's address.
    #[arg(long, env = "TELEMILL_URL", default_value = "http://127.0.0.1:7400", global = true)]
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
            bail!("{}", detail(&response.body_mut().read_to_string().unwrap_or_default()));
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
        bail!("{}", detail(&body));
    }
    serde_json::from_str(&body).context("the answer is not JSON; is this a Telemill instance?")
}

/// What a problem document says, or the body where it is none.
fn detail(body: &str) -> String {
    let problem: Option<Value> = serde_json::from_str(body).ok();
    let detail = problem.as_ref().and_then(|p| p.get("detail")).and_then(Value::as_str);
    detail.unwrap_or(body).to_owned()
}
