//! An SMTP server that keeps what it is sent, and answers as a test tells it to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// One mail as it came over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    pub from: String,
    pub to: Vec<String>,
    /// Headers and body, dots unstuffed.
    pub data: String,
}

impl Mail {
    /// A header's value as it stands in the mail, unfolded; encoded words stay encoded.
    pub fn header(&self, name: &str) -> Option<String> {
        let head = self.data.split("\r\n\r\n").next()?.replace("\r\n ", " ").replace("\r\n\t", " ");
        head.split("\r\n").find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
}

/// What the sink answers to the end of DATA, in this order; after that every mail is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 250: kept.
    Accept,
    /// 451: try again later. Not kept.
    TryLater,
    /// 550: never. Not kept.
    Refuse,
    /// Kept, and the connection is cut before the answer: the sender cannot know.
    AcceptAndHangUp,
}

/// A real SMTP server on a port of its own, gone with the last clone.
#[derive(Clone, Debug)]
pub struct SmtpSink {
    pub port: u16,
    state: Arc<State>,
    changed: watch::Receiver<usize>,
    _running: Arc<tokio_util::task::AbortOnDropHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    mails: Mutex<Vec<Mail>>,
    script: Mutex<VecDeque<Answer>>,
    /// What a sender must say after `AUTH PLAIN` before it may send; `None` asks for nothing.
    credentials: Option<String>,
}

impl SmtpSink {
    /// Takes mails from everybody.
    pub async fn start() -> Self {
        Self::serve(None).await
    }

    /// Takes mails only after `AUTH PLAIN` with these credentials: base64 of `\0user\0password`.
    pub async fn start_with_auth(credentials: impl Into<String>) -> Self {
        Self::serve(Some(credentials.into())).await
    }

    async fn serve(credentials: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound listener").port();
        let state = Arc::new(State { credentials, ..State::default() });
        let (announce, changed) = watch::channel(0);
        let shared = Arc::clone(&state);
        #[expect(clippy::disallowed_methods, reason = "a test's server ends with the handle that holds it")]
        let task = tokio::spawn(async move {
            let announce = Arc::new(announce);
            let mut sessions = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                sessions.spawn(session(stream, Arc::clone(&shared), Arc::clone(&announce)));
            }
        });
        let running = Arc::new(tokio_util::task::AbortOnDropHandle::new(task));
        Self { port, state, changed, _running: running }
    }

    /// What the next mails are answered.
    pub fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state.script.lock().unwrap_or_else(PoisonError::into_inner).extend(answers);
    }

    pub fn mails(&self) -> Vec<Mail> {
        self.state.mails.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until at least `count` mails have come; panics after ten seconds.
    pub async fn wait_for(&self, count: usize) -> Vec<Mail> {
        let mut changed = self.changed.clone();
        tokio::time::timeout(Duration::from_secs(10), changed.wait_for(|come| *come >= count))
            .await
            .unwrap_or_else(|_| panic!("{} of {count} mails within 10 s", self.mails().len()))
            .expect("the sink runs as long as its handle");
        self.mails()
    }
}

/// One connection, as much of RFC 5321 as a sender needs. An error ends it: the sender sees a broken line.
async fn session(
    stream: TcpStream,
    state: Arc<State>,
    announce: Arc<watch::Sender<usize>>,
) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut mail = Mail { from: String::new(), to: Vec::new(), data: String::new() };
    let mut trusted = state.credentials.is_none();
    write.write_all(b"220 sink ESMTP\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let answer: &[u8] = match verb.as_str() {
            "EHLO" | "HELO" if state.credentials.is_some() => {
                b"250-sink\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 AUTH PLAIN\r\n"
            }
            "EHLO" | "HELO" => b"250-sink\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
            "AUTH" => {
                let given = line.split(' ').nth(2);
                trusted = given.is_some() && given == state.credentials.as_deref();
                if trusted { b"235 welcome\r\n" } else { b"535 credentials are not valid\r\n" }
            }
            "MAIL" if !trusted => b"530 authentication required\r\n",
            "MAIL" => {
                mail = Mail { from: address(&line), to: Vec::new(), data: String::new() };
                b"250 ok\r\n"
            }
            "RCPT" => {
                mail.to.push(address(&line));
                b"250 ok\r\n"
            }
            "DATA" => {
                write.write_all(b"354 go on\r\n").await?;
                while let Some(line) = lines.next_line().await? {
                    if line == "." {
                        break;
                    }
                    mail.data.push_str(line.strip_prefix('.').unwrap_or(&line));
                    mail.data.push_str("\r\n");
                }
                let scripted = state.script.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let scripted = scripted.unwrap_or(Answer::Accept);
                if matches!(scripted, Answer::Accept | Answer::AcceptAndHangUp) {
                    let mut mails = state.mails.lock().unwrap_or_else(PoisonError::into_inner);
                    mails.push(mail.clone());
                    announce.send_replace(mails.len());
                }
                match scripted {
                    Answer::Accept => b"250 kept\r\n",
                    Answer::TryLater => b"451 try again later\r\n",
                    Answer::Refuse => b"550 never\r\n",
                    Answer::AcceptAndHangUp => return Ok(()),
                }
            }
            "RSET" | "NOOP" => b"250 ok\r\n",
            "QUIT" => {
                write.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => b"502 not here\r\n",
        };
        write.write_all(answer).await?;
    }
    Ok(())
}

fn address(line: &str) -> String {
    line.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(inner, _)| inner).to_owned()
}
