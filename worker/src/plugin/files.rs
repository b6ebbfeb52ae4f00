//! Host side of plugins: files.
