//! What holds for any request: it is answered, and where it is refused, by a problem document that says so.

use actix_web::App;
use actix_web::body::to_bytes;
use actix_web::dev::Service;
use actix_web::http::{Method, StatusCode, Uri, header};
use actix_web::rt::Runtime;
use actix_web::test::{TestRequest, init_service};
use bytes::Bytes;
use serde_json::Value;

use super::{ControlState, MetricsPage, routes};
use crate::clock::Clock;

/// Answers one request.
type Api = Box<dyn Fn(TestRequest) -> Answer>;

struct Answer {
    status: StatusCode,
    content_type: Option<String>,
    allow: Option<String>,
    body: Bytes,
}

thread_local! {
    /// Made once, because that costs more than a thousand requests, and never dropped: a runtime cannot be, in a thread's
    /// last moments.
    static API: &'static Api = Box::leak(Box::new(api()));
}

/// The API over no topology.
fn api() -> Api {
    let runtime = Runtime::new().expect("a runtime needs nothing but a file descriptor or two");
    let state = ControlState::new(MetricsPage::blank(), Clock::system());
    let app = App::new().configure(|config| routes(config, &state));
    let service = runtime.block_on(init_service(app));
    Box::new(move |request| {
        runtime.block_on(async {
            let response = service.call(request.to_request()).await.expect("errors become responses");
            let text = |name: header::HeaderName| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
            let (content_type, allow) = (text(header::CONTENT_TYPE), text(header::ALLOW));
            let status = response.status();
            let body = to_bytes(response.into_body()).await;
            Answer { status, content_type, allow, body: body.unwrap_or_else(|_| panic!("the body breaks off")) }
        })
    })
}

/// A request as `METHOD target`, an empty line and the body; anything else is none.
fn request(bytes: &[u8]) -> Option<TestRequest> {
    let head_len = bytes.windows(2).position(|at| at == b"\n\n")?;
    let head = std::str::from_utf8(&bytes[..head_len]).ok()?;
    let (method, target) = head.split_once(' ')?;
    let (method, target) = (Method::from_bytes(method.as_bytes()).ok()?, target.parse::<Uri>().ok()?);
    let body = Bytes::copy_from_slice(&bytes[head_len + 2..]);
    // A target without a path is not one that a server is asked for.
    target
        .path()
        .starts_with('/')
        .then(|| TestRequest::default().method(method).uri(&target.to_string()).set_payload(body))
}

/// Asks, and looks at the answer.
pub(crate) fn holds(bytes: &[u8]) {
    let Some(request) = request(bytes) else { return };
    let Answer { status, content_type, allow, body } = API.with(|api| api(request));
    let refused = status.is_client_error() || status.is_server_error();
    let is_problem = content_type.as_deref() == Some("application/problem+json");
    assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{}", body.escape_ascii());
    assert_eq!(status == StatusCode::METHOD_NOT_ALLOWED, allow.is_some());
    // `/readyz` is a report, whatever its status.
    if refused && content_type.as_deref() != Some("application/json") {
        assert!(is_problem, "{status} {content_type:?}: {}", body.escape_ascii());
        let problem: Value = serde_json::from_slice(&body).expect("a problem is JSON");
        assert_eq!(problem["status"], status.as_u16(), "{problem}");
        assert!(problem["errors"].as_array().is_some_and(|errors| !errors.is_empty()), "{problem}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(text: &str) -> Answer {
        let request = request(text.as_bytes()).expect("a request");
        holds(text.as_bytes());
        API.with(|api| api(request))
    }

    #[test]
    fn another_method_is_told_the_one_that_is_served() {
        for (request, allowed) in [
            ("POST /devices\n\n", "GET"),
            ("HEAD /livez\n\n", "GET"),
            ("GET /devices/d1/command\n\n", "POST"),
            ("DELETE /api/v1/topologies/x/status\n\n", "GET"),
        ] {
            let answer = ask(request);
            assert_eq!((answer.status.as_u16(), answer.allow.as_deref()), (405, Some(allowed)), "{request}");
        }
    }

    #[test]
    fn a_refusal_says_what_is_wrong() {
        for (request, status, says) in [
            ("GET /nowhere\n\n", 404, "nothing at this path"),
            ("GET /api/v1/topologies/x/status\n\n", 404, "topology `x` does not run here"),
            ("GET /api/v1/devices/a%20b\n\n", 400, "device id"),
            ("GET /api/v1/devices/d?limit=many\n\n", 400, "`limit` is `many`"),
            ("GET /api/v1/devices/d?limit=1&limit=2\n\n", 400, "limit"),
            ("GET /api/v1/alerts?topology=x\n\n", 404, "topology `x` does not run here"),
            ("GET /api/v1/alerts?topologie=x\n\n", 400, "topologie"),
            ("GET /devices?online=true\n\n", 400, "online"),
            ("POST /devices/d1/command\n\n{", 400, "not JSON"),
            ("POST /devices/d1/command?ttl=soon\n\n{}", 400, "ttl"),
            ("POST /devices/d1/command?tll=1m\n\n{}", 400, "tll"),
        ] {
            let answer = ask(request);
            assert_eq!(answer.status.as_u16(), status, "{request}");
            let problem: Value = serde_json::from_slice(&answer.body).expect("JSON");
            assert!(problem["detail"].as_str().expect("a text").contains(says), "{request}: {problem}");
        }
    }
}
