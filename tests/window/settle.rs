//! Waiting for the window, for every test that drives one.

use egui_kittest::Harness;
use moescope::ui::app::App;
use std::time::{Duration, Instant};

/// Draws frames until everything that was asked for is on screen or refused.
pub fn settle(harness: &mut Harness<'static, App>) {
    let start = Instant::now();
    harness.run_steps(3);
    while harness.state().state().updating {
        assert!(start.elapsed() < Duration::from_secs(120), "no result after two minutes");
        std::thread::sleep(Duration::from_millis(5));
        harness.step();
    }
    harness.run_steps(3);
}
