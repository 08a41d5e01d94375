//! SIGHUP: another configuration for a core that runs.

use super::StopHandle;
use super::control_socket::Control;
use crate::commands::domain;
use crate::config::Config;
use crate::logging;
use std::sync::Arc;

impl Control {
    /// Puts in force what a running core can change, and says what it cannot. Domains are taken one by one, as at
    /// a start; those of which the configuration says no more stay as they are.
    pub(super) fn reload(&self, new: Config, stop: &StopHandle) {
        tracing::info!(event = "reload");
        let running = self.process(&|_| true, |process| process.config());
        logging::set(&new.log.level);
        for (key, old, new) in running.fixed_keys_changed(&new) {
            tracing::warn!(event = "restart_needed", key, old, new, "this key changes with a restart only");
        }
        let named = |domain: &str| new.domains.iter().any(|named| named.name == domain);
        for domain in running.domains.iter().map(|domain| domain.name.as_str()).filter(|domain| !named(domain)) {
            let next = "`hearthctl domain remove` ends it";
            tracing::warn!(event = "domain_stays", domain, next, "it is served although the file names it no more");
        }
        let config = Arc::new(running.of_running(new));
        *self.config.lock() = Arc::clone(&config);
        let mut changed: usize = 0;
        self.process(&|_| true, |process| {
            if config.clear_login != running.clear_login
                && let Err(refused) = domain::set_clear_login(process, config.clear_login)
            {
                tracing::error!(event = "reload_failed", key = "clear_login", error = refused.message);
            }
            for configured in &config.domains {
                if stop.asked() > 0 {
                    return;
                }
                match domain::configure(process, Arc::new(configured.clone())) {
                    Ok(true) => {
                        changed = changed.saturating_add(1);
                        tracing::info!(event = "domain_configured", domain = configured.name);
                    }
                    Ok(false) => {}
                    Err(refused) => {
                        let (error, next) = (refused.message, refused.next);
                        tracing::error!(event = "reload_failed", domain = configured.name, error, next);
                    }
                }
            }
        });
        tracing::info!(event = "reloaded", domains_changed = changed);
    }
}
