//! worker/store
