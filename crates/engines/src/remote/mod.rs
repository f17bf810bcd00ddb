//! Sessions that run in a process of their own, and the processes.
//!
//! The child answers requests: one line of JSON each way, over its standard input and output.
//! Tensors go through a file that both ends hold ([`shared`]). When the parent goes, by
//! whatever way, the child's standard input ends and the child with it.

mod engine;
mod serve;
mod session;
mod shared;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::text::one_line;
use crate::{EngineError, process};

pub use engine::{load_in_child, serve_with};
pub use serve::serve;
pub(crate) use session::{RemoteSession, Start};
pub(crate) use shared::{dtype_name, write_data};

/// How long a child that lost its parent, or its life, may take to be gone.
const LAST_RITES: Duration = Duration::from_secs(2);

/// The lines of a child's standard error that are kept.
const KEPT_LINES: usize = 40;

/// How many of them an error repeats.
const TOLD_LINES: usize = 3;

/// What a child says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Reply {
    /// It is there, in this version.
    Hello(String),
    /// The network is ready to run, with these settings.
    Ready(Vec<(String, String)>),
    /// The network ran.
    Ran(Ran),
    /// What was asked for could not be done.
    Error(String),
}

/// What a run took in the child.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ran {
    /// Its time.
    pub(crate) seconds: f64,
    /// The processor time of all threads, where the system tells.
    pub(crate) cpu_seconds: Option<f64>,
    /// The most memory that the child held so far.
    pub(crate) peak_rss_bytes: Option<u64>,
    /// When each node was done, in seconds from the start, if that was asked for.
    #[serde(default)]
    pub(crate) marks: Vec<f64>,
}

/// A child process that answers requests.
pub(crate) struct Peer {
    engine: &'static str,
    child: Child,
    /// `None` once the child is told to go.
    requests: Option<ChildStdin>,
    replies: Receiver<Reply>,
    last_words: Arc<Mutex<VecDeque<String>>>,
}

impl Peer {
    /// Starts `command` for `engine`.
    pub(crate) fn start(engine: &'static str, command: &mut Command) -> Result<Self, EngineError> {
        // Ctrl-C is for us: the child goes when we do.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| EngineError::Failed {
                engine,
                message: format!("cannot start {:?}: {e}", command.get_program()),
            })?;
        let (sender, replies) = channel();
        if let Some(pipe) = child.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    // A library may print what it likes between the replies.
                    if let Ok(reply) = serde_json::from_str(&line)
                        && sender.send(reply).is_err()
                    {
                        break;
                    }
                }
            });
        }
        let last_words = Arc::new(Mutex::new(VecDeque::new()));
        if let Some(pipe) = child.stderr.take() {
            let words = last_words.clone();
            thread::spawn(move || listen(pipe, &words));
        }
        Ok(Peer {
            engine,
            requests: child.stdin.take(),
            child,
            replies,
            last_words,
        })
    }

    /// Sends a request, and what belongs to it.
    pub(crate) fn ask(
        &mut self,
        request: &impl Serialize,
        payload: &dyn Fn(&mut dyn Write) -> std::io::Result<()>,
    ) -> Result<(), EngineError> {
        let line = serde_json::to_string(request).map_err(|e| self.failed(e.to_string()))?;
        let Some(pipe) = &mut self.requests else {
            return Err(self.failed("its process was told to end".into()));
        };
        let mut send = || -> std::io::Result<()> {
            pipe.write_all(line.as_bytes())?;
            pipe.write_all(b"\n")?;
            payload(pipe)?;
            pipe.flush()
        };
        match send() {
            Ok(()) => Ok(()),
            // What ended the child says more than a broken pipe.
            Err(_) => Err(self.obituary()),
        }
    }

    /// The next reply; without a `limit`, whenever it comes.
    pub(crate) fn answer(&mut self, limit: Option<Duration>) -> Result<Reply, EngineError> {
        let reply = match limit {
            None => self
                .replies
                .recv()
                .map_err(|_| RecvTimeoutError::Disconnected),
            Some(limit) => self.replies.recv_timeout(limit),
        };
        match reply {
            Ok(Reply::Error(message)) => Err(self.failed(message)),
            Ok(reply) => Ok(reply),
            Err(RecvTimeoutError::Timeout) => {
                let seconds = limit.unwrap_or_default().as_secs();
                self.end();
                Err(self.failed(format!(
                    "no answer within {seconds} s; its process was ended"
                )))
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.obituary()),
        }
    }

    /// A failure in the engine's name.
    pub(crate) fn failed(&self, message: String) -> EngineError {
        EngineError::Failed {
            engine: self.engine,
            message: one_line(&message),
        }
    }

    /// How the child ended, and its last words.
    fn obituary(&mut self) -> EngineError {
        // An error that it could still tell is the best explanation.
        while let Ok(reply) = self.replies.recv_timeout(LAST_RITES) {
            if let Reply::Error(message) = reply {
                return self.failed(message);
            }
        }
        let how = match self.wait(LAST_RITES) {
            Some(status) => process::describe(status),
            None => "it stopped answering".into(),
        };
        let words = self.last_words.lock().unwrap_or_else(|e| e.into_inner());
        let told: Vec<&str> = words
            .iter()
            .rev()
            .take(TOLD_LINES)
            .map(String::as_str)
            .collect();
        let told: Vec<&str> = told.into_iter().rev().collect();
        let said = if told.is_empty() { "" } else { ": " };
        self.failed(format!("its process ended, {how}{said}{}", told.join("; ")))
    }

    /// How the child ended, if it does so within `limit`.
    fn wait(&mut self, limit: Duration) -> Option<std::process::ExitStatus> {
        let begin = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if begin.elapsed() < limit => thread::sleep(Duration::from_millis(2)),
                _ => return None,
            }
        }
    }

    /// Closes the child's standard input, at which it goes, or makes it go.
    fn end(&mut self) {
        self.requests = None;
        if self.wait(LAST_RITES).is_none() {
            // Errors mean that it is gone.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.end();
    }
}

/// Keeps the last lines of `pipe`, so that the child never waits for a reader.
fn listen(pipe: impl Read, words: &Mutex<VecDeque<String>>) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    // A line without end is taken in pieces.
    while let Ok(1..) = pipe.by_ref().take(4096).read_until(b'\n', &mut line) {
        let text = String::from_utf8_lossy(&line).trim().to_owned();
        line.clear();
        if text.is_empty() {
            continue;
        }
        let mut words = words.lock().unwrap_or_else(|e| e.into_inner());
        if words.len() == KEPT_LINES {
            words.pop_front();
        }
        words.push_back(text);
    }
}
