//! Child processes that may hang.

use std::io::{self, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// More than any child has to say; a reader stops there.
const MOST_OUTPUT: u64 = 1 << 20;

/// What a child did.
pub struct Outcome {
    /// How it ended; `None` if it was stopped because its time was over or nobody
    /// wanted it any longer.
    pub status: Option<ExitStatus>,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
}

/// Runs `command` without input, for `limit` at most.
///
/// # Errors
/// If the child cannot be started or watched.
pub fn run(command: &mut Command, limit: Duration) -> io::Result<Outcome> {
    run_until(command, limit, &|| false)
}

/// Runs `command` without input, for `limit` at most and until `stop` says so.
///
/// # Errors
/// If the child cannot be started or watched.
pub fn run_until(
    command: &mut Command,
    limit: Duration,
    stop: &dyn Fn() -> bool,
) -> io::Result<Outcome> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let stdout = read(child.stdout.take());
    let stderr = read(child.stderr.take());
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if start.elapsed() >= limit || stop() {
            child.kill()?;
            child.wait()?;
            break None;
        }
        thread::sleep(Duration::from_millis(5));
    };
    // A grandchild may hold the pipes open, so that they never end.
    let text = |pipe: Receiver<String>| pipe.recv_timeout(Duration::from_secs(1));
    Ok(Outcome {
        status,
        stdout: text(stdout).unwrap_or_default(),
        stderr: text(stderr).unwrap_or_default(),
    })
}

/// Reads a pipe to its end on a thread of its own, so that the child never waits for a reader.
fn read(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // What could be read before an error is all there is to know.
            let _ = pipe.take(MOST_OUTPUT).read_to_end(&mut bytes);
        }
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

/// How a child ended, in words.
pub fn describe(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        let name = match signal {
            4 => "illegal instruction: the library needs a newer CPU",
            6 => "aborted",
            7 => "bus error",
            8 => "arithmetic error",
            9 => "killed",
            11 => "segmentation fault",
            _ => "stopped by a signal",
        };
        return format!("{name} (signal {signal})");
    }
    match status.code() {
        Some(code) => format!("exit code {code}"),
        None => "ended without an exit code".into(),
    }
}

/// The last line that says something.
pub fn last_line(text: &str) -> &str {
    let mut lines = text.lines().rev().map(str::trim);
    lines.find(|line| !line.is_empty()).unwrap_or_default()
}
