//! What the engine costs, measured in this process: a record against a plain loop, a million devices, the memory of an
//! idle session, the restore of a checkpoint; and, by criterion, the parts (mailbox, expressions).
//!
//! ```text
//! cargo bench --bench engine                  everything; the table at the end says which target holds
//! cargo bench --bench engine -- --summary     the table alone
//! cargo bench --bench engine -- mailbox       criterion's benchmarks of that name alone
//! cargo bench --bench engine -- --run 1000    nothing but the engine at work on so many devices, for a profiler
//! ```
//!
//! What is compared is measured in turns within one run, in CPU time of the one thread that does all of it: on a busy
//! machine two figures taken minutes apart say little about each other.

mod cpu;
mod expressions;
mod fleet;
mod mailbox;
mod per_record;
mod plain_loop;
mod restore;
mod rig;
mod sessions;
mod store;
mod summary;

use criterion::Criterion;
use summary::Summary;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number_behind = |name: &str| args.iter().skip_while(|arg| *arg != name).nth(1)?.parse().ok();
    if let Some(devices) = number_behind(sessions::CHILD) {
        return sessions::child(devices);
    }
    if let Some(devices) = number_behind("--run") {
        return per_record::run(devices);
    }
    // Without `--bench` it is a test run: criterion calls each benchmark once, and there is nothing to sum up.
    let is_measured = args.iter().any(|arg| arg == "--bench");
    let only_summary = args.iter().any(|arg| arg == "--summary");
    if !only_summary {
        let mut criterion = Criterion::default().configure_from_args();
        expressions::benchmarks(&mut criterion);
        mailbox::benchmarks(&mut criterion);
        criterion.final_summary();
    }
    let has_filter = args.iter().any(|arg| !arg.starts_with("--"));
    if only_summary || (is_measured && !has_filter) {
        let mut summary = Summary::default();
        per_record::measure(&mut summary);
        sessions::measure(&mut summary);
        restore::measure(&mut summary);
        summary.print();
    }
}
