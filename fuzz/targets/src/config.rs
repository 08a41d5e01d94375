//! Configuration files of both daemons.

/// A file is taken or refused with a reason, the same each time; what is taken can be checked whole.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match hearth_connmgr::Config::parse(text) {
        Ok(config) => assert!(hearth_connmgr::Config::parse(text).is_ok_and(|again| again == config)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match hearth_core::config::Config::parse(text) {
        Ok(config) => {
            assert!(hearth_core::config::Config::parse(text).is_ok_and(|again| again == config));
            let _ = config.check();
        }
        Err(error) => assert!(!error.is_empty()),
    }
}
