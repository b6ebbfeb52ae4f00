//! common/net
