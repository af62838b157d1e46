//! Switching protocols: what a client asks for, what a route allows, and what both sides are told.
//!
//! HTTP/1 says Upgrade and 101 (RFC 9110, section 7.8), HTTP/2 says extended CONNECT and 200 (RFC 8441). WebSocket
//! has a key and its answer in HTTP/1 alone (RFC 6455, section 4), so whoever lacks them gets them here.

use std::rc::Rc;

use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, Version, header, response};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::connection::Connection;
use super::error::ProxyError;
use super::headers;
use super::tunnel::Tunnel;
use super::websocket;
use crate::config::snapshot::UpstreamProtocol;

/// What a client asks for.
pub(super) enum Asked {
    /// An answer.
    Nothing,
    /// To go on with another protocol: in HTTP/1 the request is answered all the same if nobody wants that.
    Switch(HeaderValue, Client),
}

/// The client's side.
pub(super) enum Client {
    /// The connection itself.
    Http1,
    /// Its stream, once it is one.
    Http2(OnUpgrade),
}

/// What is asked of the upstream.
pub(super) enum Switch {
    None,
    To(Box<To>),
}

/// A switch that was asked for and is allowed.
pub(super) struct To {
    protocol: HeaderValue,
    client: Client,
    upstream: UpstreamProtocol,
    /// Of a WebSocket between different versions of HTTP: the key whose answer is made or checked here.
    key: Option<websocket::Key>,
}

/// What the head asks for; an extended CONNECT becomes the GET that it stands for.
///
/// # Errors
/// [`ProxyError::MethodRefused`]: a tunnel to elsewhere.
pub(super) fn asked(head: &mut Parts, seen: headers::Seen) -> Result<Asked, ProxyError> {
    match head.method {
        Method::TRACE => Err(ProxyError::MethodRefused),
        Method::CONNECT => {
            let protocol = head.extensions.remove::<Protocol>();
            let stream = head.extensions.remove::<OnUpgrade>();
            let (Some(protocol), Some(stream), Version::HTTP_2) = (protocol, stream, head.version) else {
                return Err(ProxyError::MethodRefused);
            };
            let protocol = HeaderValue::from_str(protocol.as_str()).map_err(|_| ProxyError::MethodRefused)?;
            head.method = Method::GET;
            Ok(Asked::Switch(protocol, Client::Http2(stream)))
        }
        _ if head.version == Version::HTTP_11 => Ok(match headers::upgrade(&head.headers, seen) {
            Some(protocol) => Asked::Switch(protocol, Client::Http1),
            None => Asked::Nothing,
        }),
        _ => Ok(Asked::Nothing),
    }
}

impl Asked {
    /// The switch, if the route allows that protocol.
    ///
    /// # Errors
    /// [`ProxyError::MethodRefused`]: in HTTP/2 there is nothing else to answer.
    pub(super) fn allowed_by(self, upgrades: &[String]) -> Result<Switch, ProxyError> {
        let Self::Switch(protocol, client) = self else {
            return Ok(Switch::None);
        };
        let is_allowed = upgrades
            .iter()
            .any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(protocol.as_bytes()));
        match client {
            Client::Http1 if !is_allowed => Ok(Switch::None),
            Client::Http2(_) if !is_allowed => Err(ProxyError::MethodRefused),
            client => Ok(Switch::To(Box::new(To {
                protocol,
                client,
                upstream: UpstreamProtocol::Http1,
                key: None,
            }))),
        }
    }
}

impl To {
    fn is_websocket(&self) -> bool {
        self.protocol
            .as_bytes()
            .eq_ignore_ascii_case(websocket::PROTOCOL.as_bytes())
    }
}

impl Switch {
    /// Makes the head, whose fields are those of an upstream already, ask for it in the upstream's version of HTTP.
    ///
    /// # Errors
    /// [`ProxyError::WebSocketBad`]: the client's key is none.
    pub(super) fn ask_upstream(
        &mut self,
        head: &mut Parts,
        protocol: UpstreamProtocol,
    ) -> Result<(), ProxyError> {
        let Self::To(to) = self else { return Ok(()) };
        to.upstream = protocol;
        match (protocol, &to.client) {
            (UpstreamProtocol::Http1, Client::Http2(_)) if to.is_websocket() => {
                to.key = Some(websocket::from_connect(&mut head.headers));
            }
            (UpstreamProtocol::Http1, _) => headers::set_upgrade(&mut head.headers, to.protocol.clone()),
            (UpstreamProtocol::Http2, client) => {
                if matches!(client, Client::Http1) && to.is_websocket() {
                    to.key = Some(websocket::to_connect(&mut head.headers)?);
                }
                head.method = Method::CONNECT;
                let name = to.protocol.to_str().unwrap_or(websocket::PROTOCOL);
                head.extensions
                    .insert(Protocol::from(name.to_ascii_lowercase().as_str()));
            }
        }
        Ok(())
    }

    /// Whether the upstream switched.
    pub(super) fn is_made_by(&self, response: &Response<Incoming>) -> bool {
        match self {
            Self::None => false,
            Self::To(to) => match to.upstream {
                UpstreamProtocol::Http1 => response.status() == StatusCode::SWITCHING_PROTOCOLS,
                UpstreamProtocol::Http2 => response.status().is_success(),
            },
        }
    }

    /// The head that tells the client so.
    ///
    /// # Errors
    /// [`ProxyError::UpstreamProtocol`]: it switched to something else, or does not know the WebSocket's key.
    pub(super) fn tell_client(&self, response: &Response<Incoming>) -> Result<response::Parts, ProxyError> {
        let Self::To(to) = self else {
            return Err(ProxyError::UpstreamProtocol);
        };
        let mut fields = response.headers().clone();
        match (to.upstream, &to.client, &to.key) {
            (UpstreamProtocol::Http1, Client::Http2(_), Some(key)) => {
                websocket::from_switching(&mut fields, key)?;
            }
            (UpstreamProtocol::Http1, ..) => {
                websocket::check_switching(&fields, to.protocol.as_bytes(), None)?;
            }
            (UpstreamProtocol::Http2, ..) => {}
        }
        headers::to_downstream(&mut fields, response.version())?;
        fields.remove(header::CONTENT_LENGTH);
        let mut head = Response::new(()).into_parts().0;
        head.status = match to.client {
            Client::Http1 => {
                match &to.key {
                    Some(key) => websocket::to_switching(&mut fields, key),
                    None => headers::set_upgrade(&mut fields, to.protocol.clone()),
                }
                StatusCode::SWITCHING_PROTOCOLS
            }
            Client::Http2(_) => StatusCode::OK,
        };
        head.headers = fields;
        Ok(head)
    }

    /// Joins both sides, once the client was told.
    pub(super) fn join(self, connection: &Rc<Connection>, tunnel: Box<Tunnel>) {
        let Self::To(to) = self else { return };
        match to.client {
            Client::Http1 => connection.becomes(tunnel),
            Client::Http2(stream) => drop(tokio::task::spawn_local(async move {
                match stream.await {
                    Ok(stream) => tunnel.run(TokioIo::new(stream), Vec::new()).await,
                    // The record says that the client went.
                    Err(error) => tracing::debug!(%error, "a client left before its tunnel began"),
                }
            })),
        }
    }
}
