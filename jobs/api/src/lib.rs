//! jobs/api
