//! A request's target, as the client sent it and as an upstream's protocol wants it.

use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri, Version, header, uri};

use super::error::ProxyError;
use crate::config::snapshot::UpstreamProtocol;

/// Turns the target into what the upstream's protocol wants: path alone with Host, or the whole with an authority.
pub(super) fn address(
    head: &mut Parts,
    host: HeaderValue,
    protocol: UpstreamProtocol,
) -> Result<(), ProxyError> {
    match protocol {
        UpstreamProtocol::Http1 => {
            if head.uri.authority().is_some() || head.version == Version::HTTP_2 {
                head.uri = Uri::from(path_and_query(&head.uri)?);
                head.headers.insert(header::HOST, host);
            }
            head.version = Version::HTTP_11;
        }
        UpstreamProtocol::Http2 => {
            let mut parts = uri::Parts::default();
            parts.scheme = Some(Scheme::HTTP);
            parts.authority = Some(Authority::try_from(host.as_bytes()).map_err(|_| ProxyError::HostBad)?);
            parts.path_and_query = Some(path_and_query(&head.uri)?);
            head.uri = Uri::from_parts(parts).map_err(|_| ProxyError::PathBad)?;
            head.headers.remove(header::HOST);
            head.version = Version::HTTP_2;
        }
    }
    Ok(())
}

/// With its slash: `http://a.example?x` has none.
fn path_and_query(uri: &Uri) -> Result<PathAndQuery, ProxyError> {
    match uri.path_and_query() {
        Some(whole) if uri.authority().is_none() || whole.as_str() == "*" => Ok(whole.clone()),
        Some(whole) if whole.as_str().starts_with('/') && whole.as_str().len() > 1 => Ok(whole.clone()),
        Some(whole) => {
            let text = whole.as_str();
            let text = if text.starts_with('/') {
                text.to_owned()
            } else {
                format!("/{text}")
            };
            PathAndQuery::try_from(text).map_err(|_| ProxyError::PathBad)
        }
        None => Ok(PathAndQuery::from_static("/")),
    }
}

/// The target with its path in another form.
///
/// # Errors
/// [`ProxyError::PathBad`]: it cannot be one.
pub(super) fn with_path(uri: &Uri, mut path: String) -> Result<Uri, ProxyError> {
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).map_err(|_| ProxyError::PathBad)?);
    Uri::from_parts(parts).map_err(|_| ProxyError::PathBad)
}
