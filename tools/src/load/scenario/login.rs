//! A login storm: header, TLS, SASL, binding, presence; every session stays.

use super::{Logins, Meter, Run};
use crate::load::error::LoadError;

pub(super) fn run(run: &mut Run<'_>) -> Result<(), LoadError> {
    let users = run.users();
    run.report.title = format!("{}, {} users, {}", run.report.title, run.args.users, run.args.mechanism.name());
    let meter = run.meter()?;
    let logins = run.log_in(users.clone(), |_| {})?;
    run.settle(|_| {})?;
    report_logins(run, &meter, &logins)?;
    run.require_online(users)
}

/// Also used where logins are only a part of what is measured. All their work is done: the run has settled.
pub(super) fn report_logins(run: &mut Run<'_>, meter: &Meter, logins: &Logins) -> Result<(), LoadError> {
    run.report_cpu("CPU per 1,000 logins", meter, logins.count.into(), 1e3)?;
    run.report.add("logins per second", f64::from(logins.count) / logins.took.as_secs_f64(), "/s");
    run.report.add_latency("login", &logins.latency);
    Ok(())
}
