//! Errors as RFC 9457 problem documents.

use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpResponse, ResponseError};
use serde_json::json;

/// An error that a caller of the API sees.
#[derive(Debug, thiserror::Error)]
#[error("{title}: {detail}")]
pub struct ApiError {
    status: StatusCode,
    title: &'static str,
    detail: String,
}

impl ApiError {
    /// 400: the request is at fault.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        ApiError { status: StatusCode::BAD_REQUEST, title: "bad request", detail: detail.into() }
    }

    /// 403: not from there.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        ApiError { status: StatusCode::FORBIDDEN, title: "forbidden", detail: detail.into() }
    }

    /// 413 or 400: the body could not be read.
    pub fn bad_body(error: &actix_web::Error) -> Self {
        let status = error.as_response_error().status_code();
        ApiError { status, title: "bad body", detail: format!("the body cannot be taken: {error}") }
    }

    /// 405: not by this method, but by another; the response names it in `Allow`.
    pub fn method_not_allowed(allowed: &Method) -> HttpResponse {
        let detail = format!("this path is served by {allowed}");
        let error = ApiError { status: StatusCode::METHOD_NOT_ALLOWED, title: "method not allowed", detail };
        let mut response = error.error_response();
        let allowed = HeaderValue::from_str(allowed.as_str()).expect("a method is a token");
        response.headers_mut().insert(ALLOW, allowed);
        response
    }

    /// 404: there is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        ApiError { status: StatusCode::NOT_FOUND, title: "not found", detail: detail.into() }
    }

    /// 409: not in the present state.
    pub fn conflict(detail: impl Into<String>) -> Self {
        ApiError { status: StatusCode::CONFLICT, title: "conflict", detail: detail.into() }
    }

    /// 501: no stage of the topologies offers this.
    pub fn not_offered(detail: impl Into<String>) -> Self {
        ApiError { status: StatusCode::NOT_IMPLEMENTED, title: "not offered", detail: detail.into() }
    }

    /// 503: what is needed to answer is not there now.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        ApiError { status: StatusCode::SERVICE_UNAVAILABLE, title: "unavailable", detail: detail.into() }
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let body = json!({
            "type": "about:blank",
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
            "errors": [{ "detail": self.detail }],
        });
        HttpResponse::build(self.status).content_type("application/problem+json").body(body.to_string())
    }
}
