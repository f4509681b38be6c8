//! Threads for the sessions of a load.

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

/// No more threads than this for the sessions of a kind.
const THREADS_MAX: usize = 8;

/// What comes out of a thread.
pub(super) type Thread<R> = oneshot::Receiver<anyhow::Result<Vec<R>>>;

/// Runs jobs on a few threads, each with a runtime of its own, as programs of their own would.
pub(super) fn spread<J, R, F>(jobs: Vec<J>, work: fn(J) -> F) -> anyhow::Result<Vec<Thread<R>>>
where
    J: Send + 'static,
    R: Send + 'static,
    F: Future<Output = anyhow::Result<R>> + Send + 'static,
{
    let mut shares: Vec<Vec<J>> = (0..jobs.len().min(THREADS_MAX)).map(|_| Vec::new()).collect();
    let count = shares.len();
    for (number, job) in jobs.into_iter().enumerate() {
        shares[number % count].push(job);
    }
    shares.into_iter().map(|share| start(share, work)).collect()
}

fn start<J, R, F>(jobs: Vec<J>, work: fn(J) -> F) -> anyhow::Result<Thread<R>>
where
    J: Send + 'static,
    R: Send + 'static,
    F: Future<Output = anyhow::Result<R>> + Send + 'static,
{
    let (report, result) = oneshot::channel();
    let run = move || {
        let done = runtime().and_then(|runtime| {
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
