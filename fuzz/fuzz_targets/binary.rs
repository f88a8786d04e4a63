//! Streams of binary COPY data: `cargo fuzz run binary`.
#![no_main]

mod stream;

libfuzzer_sys::fuzz_target!(|data: &[u8]| stream::work(bulkload::pg::format::Format::Binary, data));
