//! Pages of other sites may not command devices.
//!
//! A browser sends a simple POST of any page to any address that it can reach, loopback included, and says in `Origin`
//! whose page it is (Fetch standard, section 3.2). A page that has a name for this machine's address of its own making
//! (DNS rebinding) even looks as if it came from here, so only pages that were fetched by address are let in. Whoever is
//! no browser sends no `Origin`.

use std::future::{Ready, ready};
use std::net::IpAddr;

use actix_web::dev::Payload;
use actix_web::http::Uri;
use actix_web::http::header::{HOST, ORIGIN};
use actix_web::{FromRequest, HttpRequest};

use super::problem::ApiError;

/// A request that comes from no page, or from one of this very server.
pub(super) struct OwnOrigin;

impl FromRequest for OwnOrigin {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let header = |name| request.headers().get(name).map(|value| value.to_str().unwrap_or_default());
        ready(match header(ORIGIN) {
            Some(origin) if !is_own(origin, header(HOST).unwrap_or_default()) => {
                Err(ApiError::forbidden(format!("pages of {origin:?} may not command devices here")))
            }
            _ => Ok(OwnOrigin),
        })
    }
}

fn is_own(origin: &str, host: &str) -> bool {
    let Ok(origin) = origin.parse::<Uri>() else { return false };
    let Some(authority) = origin.authority() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    authority.as_str().eq_ignore_ascii_case(host)
        && (name.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_that_were_fetched_from_here_by_address_are_own() {
        let check = |origin, host, own| assert_eq!(is_own(origin, host), own, "{origin} {host}");
        check("http://127.0.0.1:7407", "127.0.0.1:7407", true);
        check("http://[::1]:7407", "[::1]:7407", true);
        check("http://localhost:7407", "LOCALHOST:7407", true);
        check("http://127.0.0.1:8080", "127.0.0.1:7407", false);
        check("http://evil.example", "127.0.0.1:7407", false);
        check("http://evil.example:7407", "evil.example:7407", false);
        check("null", "127.0.0.1:7407", false);
        check("", "", false);
    }
}
