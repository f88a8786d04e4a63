//! Streams of text COPY data: `cargo fuzz run text`.
#![no_main]

mod stream;

libfuzzer_sys::fuzz_target!(|data: &[u8]| stream::work(bulkload::pg::format::Format::Text, data));
