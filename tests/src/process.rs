//! Processes of the tests: told what to do by their own id, looked at through `/proc`, and ended with the test.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use crate::wait::{PAUSE, until};

/// Clock ticks a second in `/proc`: fixed for programs, whatever the kernel uses.
const TICKS: f64 = 100.0;

/// A child process whose standard error goes to a file. It is killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts `command`; what it writes to standard error is appended to `log`.
    ///
    /// # Errors
    /// If it cannot be started, or the file cannot be written.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        let child = command.stderr(file).spawn().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child, log: log.to_owned(), status: None })
    }

    /// The child, for its standard input and output.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// What it wrote to standard error, and those before it in the same file.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Its exit status, if it has ended.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.child.try_wait()?;
        }
        Ok(self.status)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// If it has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        ensure!(self.ended()?.is_none(), "the process has ended: {:?}\n{}", self.status, self.log());
        kill_process(Pid::from_child(&self.child), signal).context("cannot signal")
    }

    /// Stops it in its tracks, and waits until it is stopped.
    ///
    /// # Errors
    /// If it has ended, or does not stop.
    pub async fn pause(&mut self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let stat = self.proc("stat");
        until(Duration::from_secs(10), "the process is stopped", async || {
            let state = fs::read_to_string(&stat)?;
            ensure!(fields(&state).first() == Some(&"T"), "{state}");
            Ok(())
        })
        .await
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// If it has ended.
    pub fn resume(&mut self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Ends it without a warning, as a crash would.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.status = Some(self.child.wait()?);
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it goes on for longer than `limit`.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("process {} still runs after {limit:?}\n{}", self.child.id(), self.log());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The CPU time that it has used.
    ///
    /// # Errors
    /// If it has ended.
    pub fn cpu(&self) -> Result<Duration> {
        cpu(self.id())
    }

    /// The memory that it holds now, in bytes.
    ///
    /// # Errors
    /// If it has ended.
    pub fn resident(&self) -> Result<u64> {
        self.memory("VmRSS:")
    }

    /// The most memory that it ever held, in bytes.
    ///
    /// # Errors
    /// If it has ended.
    pub fn peak(&self) -> Result<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, key: &str) -> Result<u64> {
        let status = fs::read_to_string(self.proc("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB")).context("no such line")?;
        Ok(kib.trim().parse::<u64>()? << 10)
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.child.id()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.kill();
    }
}

/// The CPU time that the process with this number has used.
///
/// # Errors
/// If it has ended.
pub fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = fields(&stat);
    // utime and stime are fields 14 and 15 of proc(5), the state is field 3.
    let ticks = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u32>().ok());
    let (user, system) = (ticks(14).context("no utime")?, ticks(15).context("no stime")?);
    Ok(Duration::from_secs_f64((f64::from(user) + f64::from(system)) / TICKS))
}

/// The fields of `/proc/PID/stat` from the state on, behind the name, which may hold anything.
fn fields(stat: &str) -> Vec<&str> {
    stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default()
}

/// Runs a command to its end, with `input` on standard input, and gives its outputs.
///
/// # Errors
/// If it cannot be started, or goes on for longer than `limit`; then it is killed.
pub async fn run(command: &mut Command, input: &[u8], limit: Duration) -> Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let shown = format!("{command:?}");
    let mut child = command.spawn().with_context(|| format!("cannot start {shown}"))?;
    let input = input.to_vec();
    let stdin = child.stdin.take();
    let feeder = tokio::task::spawn_blocking(move || {
        use std::io::Write;
        // It may end without reading everything.
        let _ = stdin.map(|mut stdin| stdin.write_all(&input));
    });
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            break None;
        }
        tokio::time::sleep(PAUSE).await;
    };
    let (stdout, stderr) = (stdout.await?, stderr.await?);
    feeder.await?;
    match status {
        Some(status) => Ok(Output { status, stdout, stderr }),
        None => bail!("{shown} ran for more than {limit:?}; stderr: {}", String::from_utf8_lossy(&stderr)),
    }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> tokio::task::JoinHandle<Vec<u8>> {
    tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What came before an error is what there is.
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(dir: &tempfile::TempDir) -> Process {
        Process::start(Command::new("sleep").arg("600"), &dir.path().join("log")).unwrap()
    }

    #[tokio::test]
    async fn a_process_is_stopped_continued_and_killed() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = sleeper(&dir);
        process.pause().await.unwrap();
        assert!(process.ended().unwrap().is_none());
        assert!(process.resident().unwrap() > 0 && process.peak().unwrap() >= process.resident().unwrap());
        assert!(process.cpu().unwrap() < Duration::from_secs(5));
        process.resume().unwrap();
        process.signal(Signal::TERM).unwrap();
        assert_eq!(process.wait(Duration::from_secs(10)).await.unwrap().code(), None);
        assert!(process.signal(Signal::TERM).is_err());
    }

    #[tokio::test]
    async fn a_command_gets_its_input_and_gives_its_output() {
        let output = run(&mut Command::new("cat"), b"hello", Duration::from_secs(10)).await.unwrap();
        assert_eq!(output.stdout, b"hello");
        let late = run(Command::new("sleep").arg("600"), b"", Duration::from_millis(50)).await;
        assert!(late.unwrap_err().to_string().contains("more than"));
    }

    #[test]
    fn names_do_not_confuse_the_fields() {
        assert_eq!(fields("12 (a) b) c) S 1 2"), ["S", "1", "2"]);
    }
}
