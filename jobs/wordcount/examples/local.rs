//! Counts the words of a file in this process, on one thread, and says how long it took: for looking at the
//! cost of the operators without a cluster. `cargo run --release -p wordcount --example local -- FILE`

use std::time::Instant;

fn main() -> firesteel::Result<()> {
    let input = std::env::args().nth(1).unwrap_or_else(|| "README.md".to_owned());
    let start = Instant::now();
    let counts = firesteel::testing::run(|cx| wordcount::wordcount(cx, input, Some(5), None))?;
    println!("{counts:?} in {:?}", start.elapsed());
    Ok(())
}
