//! jobs/wordcount
