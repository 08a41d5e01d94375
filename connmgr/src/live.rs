//! What may change while an edge runs: limits, times, certificates. One thread looks after it, so that no event
//! loop reads a file or makes a key; the loops compare a number once a turn.

use crate::certificate::{Certificates, Search};
use crate::config::Config;
use crate::limits::{DOMAIN_TLS_MAX, DOMAINS_MAX};
use crate::tls;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// What holds at one time.
pub(crate) struct Settings {
    pub(crate) config: Arc<Config>,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) tls: Arc<ServerConfig>,
}

impl Settings {
    pub(crate) fn new(config: Arc<Config>, certificates: Arc<Certificates>) -> Result<Settings, rustls::Error> {
        // A new configuration has new ticket keys: no session is taken up that began with another certificate.
        let tls = tls::server_config(&certificates, None)?;
        Ok(Settings { config, certificates, tls })
    }
}

/// See the module.
pub(crate) struct Live {
    current: Mutex<Arc<Settings>>,
    version: AtomicU64,
    /// Domains of the core.
    announced: Mutex<BTreeSet<String>>,
    /// Asked for, not yet in force.
    asked: Mutex<Asked>,
    /// Rouses the thread that does it.
    rouse: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Asked {
    config: Option<Box<Config>>,
    /// Domains without a certificate.
    domains: BTreeSet<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    pub(crate) fn new(settings: Settings, rouse: Box<dyn Fn() + Send + Sync>) -> Live {
        Live {
            current: Mutex::new(Arc::new(settings)),
            version: AtomicU64::new(0),
            announced: Mutex::default(),
            asked: Mutex::default(),
            rouse,
        }
    }

    /// Raised whenever there is something new.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&lock(&self.current))
    }

    /// The core serves a domain for which there is no certificate.
    pub(crate) fn announce(&self, domain: &str) {
        let mut announced = lock(&self.announced);
        if announced.len() < DOMAINS_MAX && announced.insert(domain.to_owned()) {
            lock(&self.asked).domains.insert(domain.to_owned());
            (self.rouse)();
        }
    }

    /// This configuration is to hold, as far as a running edge can change.
    pub(crate) fn reload(&self, config: Config) {
        lock(&self.asked).config = Some(Box::new(config));
        (self.rouse)();
    }

    /// Does what was asked for. True if the loops have something new to see.
    pub(crate) fn look(&self) -> bool {
        let Asked { config, domains } = std::mem::take(&mut *lock(&self.asked));
        let before = self.settings();
        let in_vain = config.as_ref().map(|config| said_in_vain(&before.config, config)).unwrap_or_default();
        let config =
            config.map_or_else(|| Arc::clone(&before.config), |new| Arc::new(of_running(&before.config, *new)));
        let provider = tls::crypto_provider();
        let search = Search { config: &config, provider: &provider, now_ms: now_ms() };
        let (certificates, errors) = if Arc::ptr_eq(&config, &before.config) {
            let mut certificates = (*before.certificates).clone();
            let errors =
                domains.iter().filter_map(|domain| search.one(domain, &before.certificates, &mut certificates));
            let errors = errors.collect();
            (certificates, errors)
        } else {
            search.all(&lock(&self.announced), &before.certificates)
        };
        for error in errors {
            tracing::error!(event = "certificate_bad", %error, next = "mended, it is read at SIGHUP; what was in use stays");
        }
        for domain in lock(&self.announced).iter().filter(|domain| !certificates.has(domain)) {
            tracing::warn!(event = "certificate_missing", domain, next = "add it and send SIGHUP");
        }
        match Settings::new(config, Arc::new(certificates)) {
            Ok(settings) => {
                *lock(&self.current) = Arc::new(settings);
                self.version.fetch_add(1, Ordering::AcqRel);
                // Whoever reads this knows that the rest is in force.
                for key in in_vain {
                    tracing::warn!(event = "restart_needed", key, "this key changes with a restart only");
                }
                true
            }
            Err(error) => {
                tracing::error!(event = "reload_failed", %error);
                false
            }
        }
    }
}

/// The new configuration, less what a running edge cannot change.
fn of_running(old: &Config, new: Config) -> Config {
    Config {
        name: old.name.clone(),
        event_loops: old.event_loops,
        core: old.core.clone(),
        link_key: old.link_key.clone(),
        listeners: old.listeners.clone(),
        ..new
    }
}

/// The keys that were changed and that only a restart changes.
fn said_in_vain(old: &Config, new: &Config) -> Vec<&'static str> {
    let changed = [
        ("name", old.name != new.name),
        ("event_loops", old.event_loops != new.event_loops),
        ("core", old.core != new.core),
        ("link_key", old.link_key != new.link_key),
        ("listen", old.listeners != new.listeners),
        ("log.format", old.log.format != new.log.format),
    ];
    changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
}

#[expect(clippy::disallowed_methods, reason = "the thread that looks after certificates knows their dates")]
pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// One loop's TLS: the configuration all share, and for STARTTLS one for each stream domain, made when first used.
pub(crate) struct LoopTls {
    settings: Arc<Settings>,
    of_domain: BTreeMap<Box<str>, Arc<ServerConfig>>,
}

impl LoopTls {
    pub(crate) fn new(settings: Arc<Settings>) -> LoopTls {
        LoopTls { settings, of_domain: BTreeMap::new() }
    }

    /// Whether a domain has a certificate of its own.
    pub(crate) fn has(&self, domain: &str) -> bool {
        self.settings.certificates.has(domain)
    }

    /// Whose certificate a client has shown, if it is good.
    pub(crate) fn addresses(&self, chain: &[CertificateDer<'_>]) -> Vec<Box<str>> {
        self.settings.certificates.clients().addresses(chain)
    }

    /// For a stream whose header named this domain, if it had one before TLS.
    pub(crate) fn config(&mut self, stream_to: Option<&str>) -> Arc<ServerConfig> {
        let Some(domain) = stream_to else { return Arc::clone(&self.settings.tls) };
        if let Some(known) = self.of_domain.get(domain) {
            return Arc::clone(known);
        }
        if self.of_domain.len() >= DOMAIN_TLS_MAX {
            self.of_domain.clear();
        }
        match tls::server_config(&self.settings.certificates, Some(domain)) {
            Ok(config) => {
                self.of_domain.insert(domain.into(), Arc::clone(&config));
                config
            }
            Err(_) => Arc::clone(&self.settings.tls),
        }
    }
}
