//! What only the embedded log has to prove: it is its own disk.

mod full;
mod kill;
