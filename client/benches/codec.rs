//! What the session protocol does with a message, at both ends.

use criterion::{Criterion, Throughput};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for body in stentor_micro::client() {
        let (layer, name) = body.name.split_once('/').unwrap_or(("", &body.name));
        let mut group = criterion.benchmark_group(layer);
        group.throughput(Throughput::Elements(body.messages as u64));
        group.bench_function(name, |bencher| bencher.iter(body.begin()));
    }
    criterion.final_summary();
}
