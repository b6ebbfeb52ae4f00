//! master/scheduler
