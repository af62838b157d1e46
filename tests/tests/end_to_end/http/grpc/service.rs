//! A gRPC service without generated code: messages by hand, tonic's codec, one method for each kind of call.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tonic::codegen::tokio_stream::Stream;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::{BoxFuture, BoxStream};
use tonic::metadata::MetadataMap;
use tonic::server::{ClientStreamingService, Grpc, ServerStreamingService, StreamingService, UnaryService};
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;

use super::super::peers::{Body, Fault};

/// The only message.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Note {
    /// Any text.
    #[prost(string, tag = "1")]
    pub text: String,
    /// Any number.
    #[prost(uint32, tag = "2")]
    pub number: u32,
}

impl Note {
    /// A note.
    pub fn new(text: impl Into<String>, number: u32) -> Self {
        Self {
            text: text.into(),
            number,
        }
    }
}

/// The codec of all methods.
pub type Notes = ProstCodec<Note, Note>;

/// Feeds a stream of answers; `closed` tells that nobody wants them any more.
pub type Answers = mpsc::Sender<Result<Note, Status>>;

/// What the service tells the test.
#[derive(Debug)]
pub enum Told {
    /// A call of `Hold` came, with this `grpc-timeout`; it ends with this.
    Held(Option<String>, Answers),
    /// A unary call of `Never` was dropped.
    Dropped,
}

/// The service. Its methods are `Unary`, `Never`, `Collect`, `Count`, `Echo` and `Hold`.
#[derive(Clone, Debug)]
pub struct Service(pub mpsc::UnboundedSender<Told>);

impl Service {
    /// Answers one call.
    pub async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let method = request
            .uri()
            .path()
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        let mut grpc = Grpc::new(Notes::default());
        let response = match method.as_str() {
            "Unary" | "Never" => grpc.unary(self, request).await,
            "Collect" => grpc.client_streaming(self, request).await,
            "Count" => grpc.server_streaming(self, request).await,
            _ => grpc.streaming(self, request).await,
        };
        response.map(|body| body.map_err(|status| Box::new(status) as Fault).boxed_unsync())
    }
}

/// Echoes; a number of 1000 or more is the code of an error, with metadata. `never` is not answered.
impl UnaryService<Note> for Service {
    type Response = Note;
    type Future = BoxFuture<tonic::Response<Note>, Status>;

    fn call(&mut self, request: tonic::Request<Note>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let note = request.into_inner();
            if note.text == "never" {
                let _guard = TellDropped(service);
                std::future::pending::<()>().await;
            }
            if note.number >= 1000 {
                let code = i32::try_from(note.number - 1000).unwrap_or(2);
                return Err(failure(Code::from_i32(code)));
            }
            let mut response = tonic::Response::new(note);
            response
                .metadata_mut()
                .insert("x-head", "1".parse().expect("a value"));
            Ok(response)
        })
    }
}

struct TellDropped(Service);

impl Drop for TellDropped {
    fn drop(&mut self) {
        drop(self.0.0.send(Told::Dropped));
    }
}

/// Adds up all notes.
impl ClientStreamingService<Note> for Service {
    type Response = Note;
    type Future = BoxFuture<tonic::Response<Note>, Status>;

    fn call(&mut self, request: tonic::Request<Streaming<Note>>) -> Self::Future {
        Box::pin(async move {
            let mut notes = request.into_inner();
            let (mut bytes, mut count) = (0, 0);
            while let Some(note) = notes.message().await? {
                bytes += note.text.len();
                count += note.number;
            }
            Ok(tonic::Response::new(Note::new(bytes.to_string(), count)))
        })
    }
}

/// Counts from 1 to the number, then fails with `lost` where the text says so.
impl ServerStreamingService<Note> for Service {
    type Response = Note;
    type ResponseStream = BoxStream<Note>;
    type Future = BoxFuture<tonic::Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: tonic::Request<Note>) -> Self::Future {
        Box::pin(async move {
            let asked = request.into_inner();
            let (answers, stream) = channel();
            tokio::spawn(async move {
                for number in 1..=asked.number {
                    if answers.send(Ok(Note::new("counted", number))).await.is_err() {
                        return;
                    }
                }
                if asked.text == "lost" {
                    drop(answers.send(Err(failure(Code::DataLoss))).await);
                }
            });
            Ok(tonic::Response::new(stream))
        })
    }
}

/// `Echo` answers each note when it comes; `Hold` leaves the answers to the test.
impl StreamingService<Note> for Service {
    type Response = Note;
    type ResponseStream = BoxStream<Note>;
    type Future = BoxFuture<tonic::Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: tonic::Request<Streaming<Note>>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let timeout = request.metadata().get("grpc-timeout");
            let timeout = timeout.and_then(|value| value.to_str().ok()).map(str::to_owned);
            let holds = request.metadata().contains_key("x-hold");
            let mut notes = request.into_inner();
            let (answers, stream) = channel();
            if holds {
                drop(service.0.send(Told::Held(timeout, answers)));
            } else {
                tokio::spawn(async move {
                    while let Ok(Some(note)) = notes.message().await {
                        if answers.send(Ok(note)).await.is_err() {
                            return;
                        }
                    }
                });
            }
            Ok(tonic::Response::new(stream))
        })
    }
}

fn channel() -> (Answers, BoxStream<Note>) {
    let (answers, notes) = mpsc::channel(1);
    let stream: std::pin::Pin<Box<dyn Stream<Item = Result<Note, Status>> + Send>> =
        Box::pin(ReceiverStream::new(notes));
    (answers, stream)
}

/// An error with metadata: its trailers.
fn failure(code: Code) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert("x-trail", "7".parse().expect("a value"));
    Status::with_metadata(code, "as the test wanted: \u{e9}, 100%", metadata)
}

/// A `grpc-timeout` as a length of time.
pub fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

/// One message with its prefix, for clients that write it themselves.
pub fn framed(note: &Note) -> Bytes {
    let message = prost::Message::encode_to_vec(note);
    let length = u32::try_from(message.len()).expect("a short message");
    let mut bytes = vec![0];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&message);
    bytes.into()
}
