//! The running engine, on fakes and in virtual time.

mod simulation;
