//! Host side of plugins: ffi.
