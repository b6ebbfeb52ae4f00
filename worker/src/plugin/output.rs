//! Host side of plugins: output.
