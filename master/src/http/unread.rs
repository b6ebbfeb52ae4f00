//! Bodies that nobody reads: the connection of such a request is closed once it is answered.
//!
//! HTTP/1 can reuse a connection only behind the end of the body. actix-http waits for that end without a
//! limit when a chunked body was dropped, so anybody, without a token, could hold a connection with a byte a
//! second. If the body is still held when the answer goes out, it gives what is left of it a short time and
//! closes. What bounds bodies that are read is in `intake`.

use super::failure::Failure;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{HttpMessage, HttpResponse, ResponseError};
use firesteel_common::{Error, ErrorCode};
use futures_util::StreamExt;
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// The longest head of a request, in bytes: its path and its headers.
const HEAD_MAX: usize = 16 * 1024;

/// Lets a request through with a body that outlives its handler.
pub(crate) async fn close_unread(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let body = match request.take_payload() {
        Payload::None => None,
        body => Some(Rc::new(RefCell::new(body))),
    };
    if let Some(body) = body.clone() {
        let read = futures_util::stream::poll_fn(move |cx| body.borrow_mut().poll_next_unpin(cx));
        request.set_payload(Payload::Stream { payload: Box::pin(read) });
    }
    let answer = if head_bytes(&request) > HEAD_MAX {
        request.into_response(head_too_long())
    } else {
        next.call(request).await?.map_into_boxed_body()
    };
    Ok(answer.map_body(|_, answer| BoxBody::new(Beside { answer, _body: body })))
}

/// The body of an answer, which goes together with the body of its request.
struct Beside {
    answer: BoxBody,
    _body: Option<Rc<RefCell<Payload>>>,
}

impl MessageBody for Beside {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.answer).poll_next(cx)
    }
}

fn head_too_long() -> HttpResponse {
    let error =
        Error::new(ErrorCode::TooLarge, format!("the head of the request is longer than {HEAD_MAX} bytes"))
            .with_help("send fewer or shorter headers; what is long belongs into the body");
    let mut answer = Failure(error).error_response();
    *answer.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    answer.head_mut().set_connection_type(ConnectionType::Close);
    answer
}

fn head_bytes(request: &ServiceRequest) -> usize {
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    request.uri().to_string().len() + headers.sum::<usize>()
}
