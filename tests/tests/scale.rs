//! The command that measures how costs grow, on small clusters.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use stentor_tests::binary::stentor;
use stentor_tests::process::run;
use stentor_tests::scenario::scenario;
use stentor_tests::wait::PATIENCE;

const LIMIT: Duration = Duration::from_secs(90);

#[test]
fn each_table_has_a_line_for_each_point() -> Result<()> {
    scenario(LIMIT, async {
        let mut scale = Command::new(env!("CARGO_BIN_EXE_scale"));
        scale.args(["--only", "daemons,groups,sessions,members", "--most", "2", "--duration", "100ms"]);
        scale.args(["--rounds", "1"]).env("STENTOR_BIN", stentor()?);
        let output = run(&mut scale, b"", PATIENCE * 2).await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && errors.is_empty(), "{}: {errors}", output.status);
        let text = String::from_utf8(output.stdout)?;
        let tables: Vec<Vec<&str>> = text.split("\n\n").map(|table| table.lines().collect()).collect();
        let lines: Vec<usize> = tables.iter().map(Vec::len).collect();
        ensure!(lines == [4, 3, 3, 4], "{text}");
        for (table, first) in
            tables.iter().zip(["daemons", "groups", "sessions a daemon", "members a daemon"])
        {
            ensure!(table[0].starts_with(&format!("| {first} |")), "{text}");
            for line in &table[2..] {
                let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
                ensure!(cells.len() == table[0].trim_matches('|').split(" | ").count(), "{line}");
                let rate: f64 = cells[1].split(' ').next().unwrap_or_default().parse()?;
                ensure!(rate > 100.0, "{line}");
            }
        }
        Ok(())
    })
}
