//! Where a process may listen and dial.

use super::Transport;
use crate::testing::key;
use firesteel_common::config::TlsConfig;
use firesteel_common::error::ErrorCode;
use firesteel_common::protocol::hello::Role;
use std::time::Duration;

#[test]
fn without_tls_nothing_leaves_this_machine_unless_the_operator_insists() {
    let plain = Transport::from_config(&TlsConfig::default()).unwrap();
    for address in ["192.0.2.1:7077", "[2001:db8::1]:7077", "0.0.0.0:0"] {
        let refused = plain.bind(address).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Unsupported, "{refused}");
        assert!(refused.help.contains("admin certs"), "{refused}");
        let refused = plain.connect(address, Role::Worker, &key(1), Duration::from_millis(1)).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Unsupported, "{refused}");
    }
    let config = TlsConfig { insecure_i_know: true, ..TlsConfig::default() };
    let insecure = Transport::from_config(&config).unwrap();
    assert!(insecure.trust().insecure && insecure.trust().authority.is_none());
    // An address of documentation, which no machine has: tried, not refused.
    assert_eq!(insecure.bind("192.0.2.1:0").unwrap_err().code, ErrorCode::Io);
    assert_eq!(insecure.bind("0.0.0.0:0").unwrap_err().code, ErrorCode::Unsupported, "no single address");
}

#[test]
fn half_a_configuration_is_none() {
    let config = TlsConfig { ca: "ca.crt".into(), ..TlsConfig::default() };
    assert_eq!(Transport::from_config(&config).unwrap_err().code, ErrorCode::ConfigInvalid);
}
