//! A process in the background, whose output is kept, and which ends when it is dropped.

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
    process::{Child, Command, ExitStatus},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::wait;

/// A running process. Its standard output and error go to files, so that it never waits for a
/// reader; both are shown if a test panics while it has it.
#[derive(Debug)]
pub struct Background {
    name: String,
    child: Child,
    directory: TempDir,
}

impl Background {
    /// Starts it; `name` is for messages.
    #[track_caller]
    pub fn spawn(name: &str, command: &mut Command) -> Self {
        let directory = TempDir::with_prefix("tp-output-").expect("room for temporary files");
        let file = |name| File::create(directory.path().join(name)).expect("a temporary file");
        command.stdout(file(STDOUT)).stderr(file(STDERR));
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { name: name.into(), child, directory }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn stdout(&self) -> String {
        self.read(STDOUT)
    }

    /// What it has complained about so far.
    pub fn stderr(&self) -> String {
        self.read(STDERR)
    }

    /// Its status, once it has ended.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our own child")
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        wait::until(deadline, &what, || self.status())
    }

    /// Closes our end of its standard input, if that was piped.
    pub fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Sends a signal, unless it has ended.
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        if self.status().is_some() {
            return Ok(());
        }
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// SIGKILL, and its end.
    pub fn kill(&mut self) {
        // It fails only for one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.path(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if thread::panicking() {
            for (stream, text) in [("printed", self.stdout()), ("complained", self.stderr())] {
                let lines: Vec<&str> = text.lines().collect();
                eprintln!("--- {} {stream} {} lines, of which the last:", self.name, lines.len());
                for line in lines.iter().skip(lines.len().saturating_sub(SHOWN_LINES)) {
                    eprintln!("    {line}");
                }
            }
        }
        self.kill();
    }
}

const STDOUT: &str = "stdout";
const STDERR: &str = "stderr";
/// Of either stream, when a test panics.
const SHOWN_LINES: usize = 30;
