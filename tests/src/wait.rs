//! Waiting for conditions, never for time alone.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Between two looks at a condition.
pub const PAUSE: Duration = Duration::from_millis(10);

/// How long a test waits for something that should come soon: generous, as the machine may be starved.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Tries again and again until `attempt` succeeds, and gives its value.
///
/// # Errors
/// The last error of `attempt` once `limit` has passed.
pub async fn until<T>(limit: Duration, what: &str, attempt: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    until_every(PAUSE, limit, what, attempt).await
}

/// As [`until`], with this time between two attempts.
///
/// # Errors
/// As [`until`].
pub async fn until_every<T>(
    pause: Duration,
    limit: Duration,
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        let late = Instant::now() > deadline;
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) if late => {
                return Err(error).with_context(|| format!("waited {limit:?} in vain until {what}"));
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_for_success_and_reports_the_last_error() {
        let mut tries = 0;
        let value = until(PATIENCE, "third time", async || {
            tries += 1;
            anyhow::ensure!(tries == 3, "try {tries}");
            Ok(tries)
        });
        assert_eq!(value.await.unwrap(), 3);
        let limit = Duration::from_millis(30);
        let never = until(limit, "never", async || Err::<(), _>(anyhow::anyhow!("not yet"))).await;
        let error = format!("{:#}", never.unwrap_err());
        assert!(error.contains("never") && error.contains("not yet"), "{error}");
    }
}
