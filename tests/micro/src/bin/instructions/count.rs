//! Instructions, counted by valgrind.
//!
//! Each body runs for N steps and, in another process, for 2 N: the difference is free of all that happens once, such as
//! the start of the process and buffers that grow to their size.
//!
//! The count must not depend on the machine. Valgrind shows its own processor, but not quite the same one everywhere:
//! with AVX2 where the machine has it. glibc then takes other variants of `memcpy` and its like, by the processor's
//! features and the sizes of its caches, so both are laid down. Nothing else here asks for features at run time. The
//! environment is empty otherwise: it is on the stack, and shifts it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use stentor_micro::Body;

use super::baseline::Figure;

/// The messages of N steps. Enough that a buffer more or less that is allocated on the way does not matter.
const MESSAGES: usize = 8192;

/// Names differ between versions of glibc, which ignores those that it does not know.
const TUNABLES: &str = "glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-AVX_Fast_Unaligned_Load,-AVX512F,-AVX512VL,-EVEX,-ERMS,-FSRM:\
glibc.cpu.x86_data_cache_size=0x8000:glibc.cpu.x86_shared_cache_size=0x100000:\
glibc.cpu.x86_non_temporal_threshold=0xc0000:glibc.cpu.x86_rep_movsb_threshold=0x7fffffff:\
glibc.cpu.x86_rep_stosb_threshold=0x7fffffff";

/// The figures of all bodies by name, as many at a time as there are processors: no figure depends on time.
pub(crate) fn all(bodies: &[Body]) -> Result<Vec<Figure>> {
    let count = thread::available_parallelism()?.get();
    let share = |first| bodies.iter().skip(first).step_by(count).map(one).collect::<Result<Vec<_>>>();
    let mut figures = Vec::new();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..count).map(|first| scope.spawn(move || share(first))).collect();
        for worker in workers {
            figures.extend(worker.join().map_err(|_| anyhow!("a count panicked"))??);
        }
        Ok::<_, anyhow::Error>(())
    })?;
    figures.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(figures)
}

fn one(body: &Body) -> Result<Figure> {
    let steps = MESSAGES / body.messages;
    let (once, twice) = (run(&body.name, steps)?, run(&body.name, 2 * steps)?);
    let counted = twice.checked_sub(once).with_context(|| format!("{}: more steps take less", body.name))?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let instructions = counted as f64 / (steps * body.messages) as f64;
    Ok(Figure { name: body.name.clone(), instructions })
}

/// The instructions of a process that does `steps` steps.
fn run(name: &str, steps: usize) -> Result<u64> {
    let directory = tempfile::tempdir()?;
    let profile = directory.path().join("profile");
    let mut out = std::ffi::OsString::from("--callgrind-out-file=");
    out.push(&profile);
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(out)
        .arg(std::env::current_exe()?)
        .args([name, "--steps", &steps.to_string()])
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "VALGRIND_LIB"))
        .env("GLIBC_TUNABLES", TUNABLES)
        // Away from anybody's .valgrindrc.
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .output()
        .context("cannot run valgrind: install it, with apt-get install valgrind or the like")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} under valgrind: {}\n{said}", output.status);
    total(&profile).with_context(|| format!("{name}: no count from valgrind, which said:\n{said}"))
}

fn total(profile: &Path) -> Result<u64> {
    let text = std::fs::read_to_string(profile)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")).context("no line `totals`")?;
    Ok(total.trim().parse()?)
}
