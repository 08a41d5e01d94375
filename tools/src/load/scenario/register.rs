//! Accounts by in-band registration (XEP-0077 §3), one connection each.

use super::Run;
use crate::load::error::LoadError;

pub(super) fn run(run: &mut Run<'_>) -> Result<(), LoadError> {
    let made = run.log_in(run.users(), |_| {})?;
    run.report.title = format!("{} accounts", run.args.users);
    run.report.add("accounts", f64::from(made.count), "");
    run.report.add("rate", f64::from(made.count) / made.took.as_secs_f64(), "/s");
    Ok(())
}
