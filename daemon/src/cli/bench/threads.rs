//! Threads for the sessions of a load.

use std::collections::BTreeMap;

use anyhow::Context;
use rustix::thread::CpuSet;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::cores::{Cores, stay_on};

/// No more threads than this for the sessions of a kind.
const THREADS_MAX: usize = 8;

/// What comes out of a thread.
pub(super) type Thread<R> = oneshot::Receiver<anyhow::Result<Vec<R>>>;

/// Runs jobs on a few threads, each with a runtime of its own, as programs of their own would. Each job comes with its
/// machine: where those have cores, it stays on them.
pub(super) fn spread<J, R, F>(
    jobs: Vec<(usize, J)>,
    cores: Option<&Cores>,
    work: fn(J) -> F,
) -> anyhow::Result<Vec<Thread<R>>>
where
    J: Send + 'static,
    R: Send + 'static,
    F: Future<Output = anyhow::Result<R>> + Send + 'static,
{
    let mut by_home: BTreeMap<Option<usize>, Vec<J>> = BTreeMap::new();
    for (machine, job) in jobs {
        by_home.entry(cores.map(|_| machine)).or_default().push(job);
    }
    let most = (THREADS_MAX / by_home.len().max(1)).max(1);
    let mut threads = Vec::new();
    for (machine, jobs) in by_home {
        let home = cores.zip(machine).map(|(cores, machine)| *cores.of(machine));
        let mut shares: Vec<Vec<J>> = (0..jobs.len().min(most)).map(|_| Vec::new()).collect();
        let count = shares.len();
        for (number, job) in jobs.into_iter().enumerate() {
            shares[number % count].push(job);
        }
        for share in shares {
            threads.push(start(share, home, work)?);
        }
    }
    Ok(threads)
}

fn start<J, R, F>(jobs: Vec<J>, home: Option<CpuSet>, work: fn(J) -> F) -> anyhow::Result<Thread<R>>
where
    J: Send + 'static,
    R: Send + 'static,
    F: Future<Output = anyhow::Result<R>> + Send + 'static,
{
    let (report, result) = oneshot::channel();
    let run = move || {
        let done = home.as_ref().map_or(Ok(()), stay_on).and_then(|()| runtime()).and_then(|runtime| {
            runtime.block_on(async {
                let tasks: Vec<_> = jobs.into_iter().map(|job| tokio::spawn(work(job))).collect();
                let mut results = Vec::new();
                for task in tasks {
                    results.push(task.await.context("a task of the load ended")??);
                }
                Ok(results)
            })
        });
        // Nobody waits for it after a signal.
        let _ = report.send(done);
    };
    std::thread::Builder::new().name("load".to_owned()).spawn(run).context("cannot start a thread")?;
    Ok(result)
}

fn runtime() -> anyhow::Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// Waits for the results of all jobs.
pub(super) async fn gather<R>(threads: Vec<Thread<R>>) -> anyhow::Result<Vec<R>> {
    let mut all = Vec::new();
    for thread in threads {
        all.extend(thread.await.context("a thread of the load ended")??);
    }
    Ok(all)
}
