//! worker/core
