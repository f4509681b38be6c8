//! The results for programs: one object.

use serde_json::{Map, Value, json};

use super::kind::Kind;
use super::load::Row;
use super::results::{Results, Spread};
use super::targets::{TARGETS, Verdict};

impl Results {
    /// Everything as one object.
    pub fn json(&self) -> Value {
        let mut systems: Vec<Value> = (self.versions.iter())
            .map(|(kind, version)| {
                json!({ "name": kind.to_string(), "version": version, "about": kind.about(), "left_out": null })
            })
            .collect();
        systems.extend(self.left_out.iter().map(|(kind, why)| {
            json!({ "name": kind.to_string(), "version": null, "about": kind.about(), "left_out": why })
        }));
        let failures: Vec<_> = (self.failures.iter())
            .map(|(kind, why)| json!({ "name": kind.to_string(), "why": why }))
            .collect();
        let machine = self.machine().map(
            |(percent, p99)| json!({ "cores_away_percent": json(percent), "latency_us_p99": json(p99) }),
        );
        json!({
            "rounds": self.rounds(),
            "duration_s": self.span.as_secs_f64(),
            "load_average_before": self.load_before,
            "machine": machine,
            "systems": systems,
            "failures": failures,
            "rows": self.rows().into_iter().map(|row| self.row(row)).collect::<Vec<_>>(),
            "targets": self.targets(),
        })
    }

    fn row(&self, row: Row) -> Value {
        let cell = |kind| {
            let mut cell = json(self.spread(kind, row)?);
            if kind != Kind::Stentor {
                let ratio = self.ratio((Kind::Stentor, row), (kind, row));
                cell["stentor_over_this"] = ratio.map_or(Value::Null, json);
            }
            Some((kind.to_string(), cell))
        };
        let cells: Map<String, Value> = self.kinds().filter_map(cell).collect();
        json!({ "load": row.load.to_string(), "quantity": row.quantity.name(), "cells": cells })
    }

    fn targets(&self) -> Vec<Value> {
        let judged = TARGETS.iter().map(|target| {
            let (holds, value) = match target.judge(self) {
                Verdict::Holds(value) => (Some(true), Some(value)),
                Verdict::Missed(value) => (Some(false), Some(value)),
                Verdict::Unknown => (None, None),
            };
            json!({ "target": target.to_string(), "holds": holds, "measured": value })
        });
        judged.collect()
    }
}

fn json(spread: Spread) -> Value {
    json!({ "median": spread.median, "min": spread.min, "max": spread.max })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::results::tests::results;

    #[test]
    fn the_object_tells_everything() {
        let object = results().json();
        assert_eq!((&object["rounds"], &object["load_average_before"]), (&json!(3), &json!(0.25)));
        assert_eq!(object["systems"][0]["name"], "stentor");
        assert_eq!(
            object["systems"][2],
            json!({
                "name": "corosync", "version": null, "about": Kind::Corosync.about(), "left_out": "not installed",
            })
        );
        let row = &object["rows"][0];
        assert_eq!((&row["load"], &row["quantity"]), (&json!("64 B"), &json!("msgs_per_s")));
        assert_eq!(row["cells"]["stentor"], json!({ "median": 1.5e6, "min": 875e3, "max": 1.75e6 }));
        assert_eq!(row["cells"]["nats"]["stentor_over_this"]["median"], 1.625);
        let holds: Vec<&Value> =
            (object["targets"].as_array().unwrap().iter()).map(|t| &t["holds"]).collect();
        assert_eq!(holds[..3], [&json!(true), &json!(true), &Value::Null]);
    }
}
