//! The servers' codec.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic::{Code, Status};
use tonic_prost::ProstEncoder;

use crate::google::rpc;

/// The longest description of what is wrong with the bytes. The path to a field 100 messages deep is longer than what
/// a status may carry.
const MAX_DESCRIPTION_BYTES: usize = 256;

/// Protobuf as [`tonic_prost::ProstCodec`] does it, except that bytes which are no message are the caller's mistake:
/// INVALID_ARGUMENT with the reason `MALFORMED_MESSAGE`, where tonic answers INTERNAL.
#[derive(Clone, Debug)]
pub struct ServerCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for ServerCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for ServerCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ServerDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        ServerDecoder(PhantomData)
    }
}

/// Decodes requests.
#[derive(Clone, Debug)]
pub struct ServerDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for ServerDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        U::decode(bytes).map(Some).map_err(|error| malformed(&error))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

/// The status of a request that is no message of its method. The description names fields, never values.
pub fn malformed(error: &prost::DecodeError) -> Status {
    let mut description = error.to_string();
    description.truncate(description.floor_char_boundary(MAX_DESCRIPTION_BYTES));
    let info = rpc::ErrorInfo {
        reason: "MALFORMED_MESSAGE".to_owned(),
        domain: "cqm".to_owned(),
        ..Default::default()
    };
    let details = rpc::Status {
        code: Code::InvalidArgument.into(),
        message: description.clone(),
        details: vec![prost_types::Any {
            type_url: "type.googleapis.com/google.rpc.ErrorInfo".to_owned(),
            value: info.encode_to_vec(),
        }],
    };
    Status::with_details(Code::InvalidArgument, description, details.encode_to_vec().into())
}
