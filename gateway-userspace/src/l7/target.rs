//! A request's target, as the client sent it and as an upstream's protocol wants it.

use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Uri, Version, header, uri};

use super::answers::Short;
use super::attempt::Outgoing;
use super::body::RequestBody;
use super::error::ProxyError;
use super::headers;
use crate::config::snapshot::{Redirect, Rewrite, Scheme, UpstreamProtocol, Wanted};
use crate::tls::Security;

/// The host that an upstream is asked for: the client's, unless the route says another.
pub(super) fn host(headers: &mut HeaderMap, rewrite: Option<&Rewrite>, asked: HeaderValue) -> HeaderValue {
    let Some(other) = rewrite.and_then(|rewrite| rewrite.host.as_ref()) else {
        return asked;
    };
    headers.insert(header::HOST, other.clone());
    other.clone()
}

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
            parts.scheme = Some(uri::Scheme::HTTP);
            parts.authority = Some(Authority::try_from(host.as_bytes()).map_err(|_| ProxyError::HostBad)?);
            parts.path_and_query = Some(path_and_query(&head.uri)?);
            head.uri = Uri::from_parts(parts).map_err(|_| ProxyError::PathBad)?;
            head.headers.remove(header::HOST);
            head.version = Version::HTTP_2;
        }
    }
    Ok(())
}

/// Makes the request what a protocol wants that is not the one it was made for: another way to an endpoint, or another
/// upstream, may speak another.
///
/// # Errors
/// [`ProxyError::SwitchUnsupported`]: it switches protocols, which it asks for in the words of one of them.
pub(super) fn speak(outgoing: &mut Outgoing, protocol: UpstreamProtocol) -> Result<(), ProxyError> {
    let head = &mut outgoing.head;
    let speaks = match head.version {
        Version::HTTP_2 => UpstreamProtocol::Http2,
        _ => UpstreamProtocol::Http1,
    };
    if speaks == protocol {
        return Ok(());
    }
    if head.headers.contains_key(header::UPGRADE) || head.method == Method::CONNECT {
        return Err(ProxyError::SwitchUnsupported);
    }
    let authority = head
        .uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    let host = match (authority, head.headers.get(header::HOST)) {
        (Some(authority), _) => HeaderValue::from_bytes(authority).map_err(|_| ProxyError::HostBad)?,
        (None, Some(host)) => host.clone(),
        (None, None) => return Err(ProxyError::HostBad),
    };
    address(head, host, protocol)?;
    match protocol {
        UpstreamProtocol::Http1 => {
            if outgoing.upload.is_some() {
                headers::frame(&mut head.headers, &RequestBody::new(outgoing.upload.as_ref()));
            }
        }
        UpstreamProtocol::Http2 => {
            // Who waits for 100 does so on the way that is gone: the body follows at once.
            outgoing.gate = None;
            head.headers.remove(header::EXPECT);
            head.headers.remove(header::TRANSFER_ENCODING);
        }
    }
    Ok(())
}

/// Says in an HTTP/2 request whether it is sent by TLS.
///
/// # Errors
/// [`ProxyError::PathBad`]: it has no authority.
pub(super) fn secure(head: &mut Parts, security: Security) -> Result<(), ProxyError> {
    let scheme = match security {
        Security::Plain => uri::Scheme::HTTP,
        Security::Tls => uri::Scheme::HTTPS,
    };
    if head.version != Version::HTTP_2 || head.uri.scheme() == Some(&scheme) {
        return Ok(());
    }
    let mut parts = head.uri.clone().into_parts();
    parts.scheme = Some(scheme);
    head.uri = Uri::from_parts(parts).map_err(|_| ProxyError::PathBad)?;
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

/// Sends the client elsewhere, by what it asked for.
///
/// # Errors
/// [`ProxyError::PathBad`]: that cannot stand in a field.
pub(super) fn redirected(
    redirect: &Redirect,
    scheme: Scheme,
    host: &HeaderValue,
    uri: &Uri,
) -> Result<Short, ProxyError> {
    let location = redirect.location(Wanted {
        scheme,
        host: host.to_str().map_err(|_| ProxyError::HostBad)?,
        path: uri.path(),
        query: uri.query(),
    });
    Ok(Short::Redirected {
        status: redirect.status,
        location: HeaderValue::try_from(location).map_err(|_| ProxyError::PathBad)?,
    })
}

/// Puts the path in the target that the route wants there; which one, if it is another.
///
/// # Errors
/// [`ProxyError::PathBad`]: it cannot be one.
pub(super) fn rewrite(uri: &mut Uri, rewrite: Option<&Rewrite>) -> Result<Option<String>, ProxyError> {
    let path = rewrite.and_then(|rewrite| rewrite.path.of(uri.path()));
    if let Some(path) = &path {
        *uri = with_path(uri, path.clone())?;
    }
    Ok(path)
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
