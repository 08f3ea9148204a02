//! An SMTP server that keeps what it is sent, and answers as a test tells it to.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::Identity;

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

/// How the sink encrypts.
#[derive(Clone, Debug)]
pub enum Tls {
    /// From the STARTTLS command on. It takes everything before it, too, so that a test sees who says too much.
    Starttls(Identity),
    /// From the first byte.
    Implicit(Identity),
}

/// A command as it came over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Whether nobody on the way could read it.
    pub encrypted: bool,
    pub line: String,
}

/// A connection to the sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// Its commands; what is between DATA and its end is in [`Mail::data`].
    pub heard: Vec<Heard>,
    /// Whether it has ended, so that nothing is heard any more.
    pub over: bool,
}

/// A real SMTP server on a port of its own, gone with the last clone.
#[derive(Clone, Debug)]
pub struct SmtpSink {
    pub port: u16,
    state: Arc<State>,
    _running: Arc<tokio_util::task::AbortOnDropHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    mails: watch::Sender<Vec<Mail>>,
    sessions: watch::Sender<Vec<Session>>,
    script: Mutex<VecDeque<Answer>>,
    tls: Option<Tls>,
    /// What a sender must say after `AUTH PLAIN` before it may send; `None` asks for nothing.
    credentials: Option<String>,
}

impl SmtpSink {
    /// Takes mails from everybody.
    pub async fn start() -> Self {
        Self::serve(State::default()).await
    }

    /// Takes mails only after `AUTH PLAIN` with these credentials: base64 of `\0user\0password`.
    pub async fn start_with_auth(credentials: impl Into<String>) -> Self {
        Self::serve(State { credentials: Some(credentials.into()), ..State::default() }).await
    }

    /// Encrypts, and asks for credentials like [`SmtpSink::start_with_auth`].
    pub async fn start_with_tls(tls: Tls, credentials: impl Into<String>) -> Self {
        let credentials = Some(credentials.into());
        Self::serve(State { tls: Some(tls), credentials, ..State::default() }).await
    }

    async fn serve(state: State) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound listener").port();
        let state = Arc::new(state);
        let shared = Arc::clone(&state);
        #[expect(clippy::disallowed_methods, reason = "a test's server ends with the handle that holds it")]
        let task = tokio::spawn(async move {
            let mut sessions = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                sessions.spawn(session(stream, Arc::clone(&shared)));
            }
        });
        let running = Arc::new(tokio_util::task::AbortOnDropHandle::new(task));
        Self { port, state, _running: running }
    }

    /// What the next mails are answered.
    pub fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state.script.lock().unwrap_or_else(PoisonError::into_inner).extend(answers);
    }

    pub fn mails(&self) -> Vec<Mail> {
        self.state.mails.borrow().clone()
    }

    /// The connections in the order in which they were made.
    pub fn sessions(&self) -> Vec<Session> {
        self.state.sessions.borrow().clone()
    }

    /// Waits until at least `count` mails have come; panics after ten seconds.
    pub async fn wait_for(&self, count: usize) -> Vec<Mail> {
        let mut mails = self.state.mails.subscribe();
        tokio::time::timeout(Duration::from_secs(10), mails.wait_for(|mails| mails.len() >= count))
            .await
            .unwrap_or_else(|_| panic!("{} of {count} mails within 10 s", self.mails().len()))
            .expect("the sink runs as long as its handle")
            .clone()
    }

    /// Waits until at least `count` connections have ended; panics after ten seconds. Only then it is certain that
    /// nothing was said.
    pub async fn wait_for_end(&self, count: usize) -> Vec<Session> {
        let mut sessions = self.state.sessions.subscribe();
        let over = |sessions: &Vec<Session>| sessions.iter().filter(|session| session.over).count() >= count;
        tokio::time::timeout(Duration::from_secs(10), sessions.wait_for(over))
            .await
            .unwrap_or_else(|_| panic!("not {count} ended within 10 s: {:?}", self.sessions()))
            .expect("the sink runs as long as its handle")
            .clone()
    }
}

/// One connection. An error ends it: the sender sees a broken line.
async fn session(stream: TcpStream, state: Arc<State>) {
    let mut number = 0;
    state.sessions.send_modify(|sessions| {
        number = sessions.len();
        sessions.push(Session::default());
    });
    let _ = encrypted_as_told(stream, &state, number).await;
    state.sessions.send_modify(|sessions| sessions[number].over = true);
}

async fn encrypted_as_told(mut stream: TcpStream, state: &State, number: usize) -> io::Result<()> {
    let identity = match &state.tls {
        Some(Tls::Implicit(identity)) => {
            let mut stream = TlsAcceptor::from(Arc::clone(&identity.0)).accept(stream).await?;
            stream.write_all(GREETING).await?;
            talk(&mut stream, state, number, true).await?;
            return stream.shutdown().await;
        }
        Some(Tls::Starttls(identity)) => Some(identity),
        None => None,
    };
    stream.write_all(GREETING).await?;
    if let (Next::Starttls, Some(identity)) = (talk(&mut stream, state, number, false).await?, identity) {
        let mut stream = TlsAcceptor::from(Arc::clone(&identity.0)).accept(stream).await?;
        talk(&mut stream, state, number, true).await?;
        return stream.shutdown().await;
    }
    Ok(())
}

const GREETING: &[u8] = b"220 sink ESMTP\r\n";

/// What follows a conversation.
enum Next {
    Nothing,
    Starttls,
}

/// As much of RFC 5321 as a sender needs.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    state: &State,
    number: usize,
    encrypted: bool,
) -> io::Result<Next> {
    // What it has read too much ends with it, as RFC 3207 has it: nothing said in clear counts after STARTTLS.
    let mut stream = BufReader::new(stream);
    let mut mail = Mail { from: String::new(), to: Vec::new(), data: String::new() };
    let mut trusted = state.credentials.is_none();
    stream.flush().await?;
    while let Some(line) = next_line(&mut stream).await? {
        let heard = Heard { encrypted, line: line.clone() };
        state.sessions.send_modify(|sessions| sessions[number].heard.push(heard));
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let answer: &[u8] = match verb.as_str() {
            "EHLO" | "HELO" => {
                stream.write_all(b"250-sink\r\n").await?;
                if matches!(state.tls, Some(Tls::Starttls(_))) && !encrypted {
                    stream.write_all(b"250-STARTTLS\r\n").await?;
                }
                if state.credentials.is_some() {
                    stream.write_all(b"250-AUTH PLAIN\r\n").await?;
                }
                b"250-8BITMIME\r\n250 SMTPUTF8\r\n"
            }
            "STARTTLS" if matches!(state.tls, Some(Tls::Starttls(_))) && !encrypted => {
                stream.write_all(b"220 go on\r\n").await?;
                return Ok(Next::Starttls);
            }
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
                stream.write_all(b"354 go on\r\n").await?;
                stream.flush().await?;
                while let Some(line) = next_line(&mut stream).await? {
                    if line == "." {
                        break;
                    }
                    mail.data.push_str(line.strip_prefix('.').unwrap_or(&line));
                    mail.data.push_str("\r\n");
                }
                let scripted = state.script.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let scripted = scripted.unwrap_or(Answer::Accept);
                if matches!(scripted, Answer::Accept | Answer::AcceptAndHangUp) {
                    state.mails.send_modify(|mails| mails.push(mail.clone()));
                }
                match scripted {
                    Answer::Accept => b"250 kept\r\n",
                    Answer::TryLater => b"451 try again later\r\n",
                    Answer::Refuse => b"550 never\r\n",
                    Answer::AcceptAndHangUp => return Ok(Next::Nothing),
                }
            }
            "RSET" | "NOOP" => b"250 ok\r\n",
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                stream.flush().await?;
                return Ok(Next::Nothing);
            }
            _ => b"502 not here\r\n",
        };
        stream.write_all(answer).await?;
        // A line that encrypts keeps what fits into its buffer until it is told that it is all.
        stream.flush().await?;
    }
    Ok(Next::Nothing)
}

/// A line without its end; `None` at the end of all lines.
async fn next_line(stream: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let read = stream.read_until(b'\n', &mut line).await?;
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    // Who takes the sink for a server that encrypts sends no text.
    Ok((read > 0).then(|| String::from_utf8_lossy(line).into_owned()))
}

fn address(line: &str) -> String {
    line.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(inner, _)| inner).to_owned()
}
