//! Expressions: reading the fields that they name out of a payload, and evaluating them.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use serde::Deserialize;
use telemill_engine::topology::expr::{Fields, Inputs, Program, Want};

use crate::fleet::Fleet;
use crate::rig::CONDITION;

/// What one would write by hand for the one field.
#[derive(Deserialize)]
struct Typed {
    temperature: Option<f64>,
}

/// Criterion's benchmarks.
pub fn benchmarks(criterion: &mut Criterion) {
    let record = Fleet::new(1).batches(1).remove(0).remove(0);
    let payload: &[u8] = &record.payload;

    let mut group = criterion.benchmark_group("payload");
    group.throughput(Throughput::Bytes(payload.len() as u64));
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2)).sample_size(30);
    for (name, texts) in [
        ("one field", &[CONDITION][..]),
        ("four fields", &[CONDITION, "payload.humidity > 1", "payload.battery > 1", r#"payload.site == "x""#]),
    ] {
        let mut fields = Fields::new();
        for text in texts {
            Program::compile(text, Want::Bool, &mut fields).expect("a valid condition");
        }
        let plan = fields.freeze();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut slots = plan.slots();
                plan.extract(black_box(payload), &mut slots).expect("valid JSON");
                black_box(slots.as_slice().len())
            });
        });
    }
    group.bench_function("one field, by a struct", |bencher| {
        let read = || serde_json::from_slice::<Typed>(black_box(payload)).expect("valid JSON").temperature;
        bencher.iter(read);
    });
    group.finish();

    let mut group = criterion.benchmark_group("expression");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2)).sample_size(30);
    for (name, text) in [
        ("one comparison", CONDITION),
        ("arithmetic", "(payload.temperature * 1.8 + 32.0) - payload.humidity / 2.0 > 170.0"),
        ("text and logic", r#"payload.site.startsWith("plant-7") && payload.status in ["ok", "warm"] || kind == "x""#),
    ] {
        let mut fields = Fields::new();
        let program = Program::compile(text, Want::Bool, &mut fields).expect("a valid condition");
        let plan = fields.freeze();
        let mut slots = plan.slots();
        plan.extract(payload, &mut slots).expect("valid JSON");
        let inputs = Inputs { device_id: "device-0000001", kind: "data", timestamp: 1, slots: slots.as_slice() };
        group.bench_function(name, |bencher| bencher.iter(|| black_box(&program).eval_bool(black_box(&inputs))));
    }
    group.finish();
}
