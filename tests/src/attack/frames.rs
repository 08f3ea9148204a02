//! Frames of HTTP/2 (RFC 9113) and header fields (RFC 7541), as bytes.

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const CONTINUATION: u8 = 0x9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const CANCEL: u32 = 0x8;

/// Any frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a payload fits a frame").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// What a client says about itself.
#[derive(Clone, Copy, Default)]
pub struct Settings {
    /// Of each stream, bytes (SETTINGS_INITIAL_WINDOW_SIZE).
    pub window: Option<u32>,
}

pub fn settings(settings: Settings) -> Vec<u8> {
    let mut payload = Vec::new();
    if let Some(window) = settings.window {
        payload.extend([0, 4]);
        payload.extend(window.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &payload)
}

pub fn ping() -> Vec<u8> {
    frame(PING, 0, 0, b"harmless")
}

pub fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

pub fn data(stream: u32, bytes: &[u8], ended: bool) -> Vec<u8> {
    frame(DATA, if ended { END_STREAM } else { 0 }, stream, bytes)
}

/// A request's head out of encoded fields; `whole` when no CONTINUATION follows, `ended` when no body does.
pub fn call(stream: u32, fields: &[u8], whole: bool, ended: bool) -> Vec<u8> {
    let flags = (if whole { END_HEADERS } else { 0 }) | (if ended { END_STREAM } else { 0 });
    frame(HEADERS, flags, stream, fields)
}

pub fn continuation(stream: u32, fields: &[u8], whole: bool) -> Vec<u8> {
    frame(CONTINUATION, if whole { END_HEADERS } else { 0 }, stream, fields)
}

/// The fields of a gRPC call to this path.
pub fn head_of(path: &str) -> Vec<u8> {
    [
        header(":method", "POST"),
        header(":scheme", "http"),
        header(":authority", "cqm"),
        header(":path", path),
        header("content-type", "application/grpc"),
        header("te", "trailers"),
    ]
    .concat()
}

/// One field, literally and without a place in the table, as the one and only encoding that needs no memory.
pub fn header(name: &str, value: &str) -> Vec<u8> {
    field(name.as_bytes(), value.as_bytes())
}

/// The same of any bytes, of which not all may stand in a field.
pub fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name, value] {
        number(text.len(), &mut field);
        field.extend(text);
    }
    field
}

/// An integer with a prefix of seven bits (RFC 7541, 5.1).
fn number(value: usize, into: &mut Vec<u8>) {
    const FULL: usize = 127;
    if value < FULL {
        return into.push(value as u8);
    }
    into.push(FULL as u8);
    let mut left = value - FULL;
    while left >= 128 {
        into.push((left % 128) as u8 | 128);
        left /= 128;
    }
    into.push(left as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_the_standard_writes_them() {
        let written = |value| {
            let mut bytes = Vec::new();
            number(value, &mut bytes);
            bytes
        };
        assert_eq!(written(10), [10]);
        assert_eq!(written(127), [127, 0]);
        assert_eq!(written(1000), [127, 0b1110_1001, 6]);
    }
}
