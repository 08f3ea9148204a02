//! Mails as their recipients read them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cqm_testkit::Mail;

/// The text of a mail, decoded.
pub fn body(mail: &Mail) -> String {
    let (_, body) = mail.data.split_once("\r\n\r\n").unwrap();
    let text = match mail.header("Content-Transfer-Encoding").as_deref() {
        Some("base64") => String::from_utf8(STANDARD.decode(body.replace("\r\n", "")).unwrap()).unwrap(),
        Some("7bit") => body.to_owned(),
        Some("quoted-printable") => quoted_printable(body),
        other => panic!("an encoding that the tests do not read: {other:?}"),
    };
    text.replace("\r\n", "\n")
}

fn quoted_printable(text: &str) -> String {
    let joined = text.replace("=\r\n", "");
    let mut parts = joined.split('=');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}

/// A header of a mail, decoded.
pub fn header(mail: &Mail, name: &str) -> String {
    let raw = mail.header(name).unwrap_or_else(|| panic!("no {name} in {}", mail.data));
    let words = raw.split(' ').map(|word| {
        match word.strip_prefix("=?utf-8?b?").and_then(|rest| rest.strip_suffix("?=")) {
            Some(coded) => String::from_utf8(STANDARD.decode(coded).unwrap()).unwrap(),
            None => format!("{word} "),
        }
    });
    words.collect::<String>().trim().to_owned()
}
