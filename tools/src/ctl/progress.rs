//! How far a command is that takes longer: a bar on the terminal, nothing anywhere else.

use hearth_core::commands::Progress;
use indicatif::{ProgressBar, ProgressStyle};

pub(super) struct Bar {
    bar: Option<ProgressBar>,
    as_json: bool,
}

impl Bar {
    /// Not shown before there is something to show.
    pub(super) fn new(as_json: bool) -> Bar {
        Bar { bar: None, as_json }
    }

    pub(super) fn show(&mut self, Progress { done, total }: Progress) {
        if self.as_json {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(total);
            if let Ok(style) = ProgressStyle::with_template("{wide_bar} {bytes} of {total_bytes}, {eta} left") {
                bar.set_style(style);
            }
            bar
        });
        bar.set_length(total);
        bar.set_position(done);
    }

    /// Takes it away: it is done.
    pub(super) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
