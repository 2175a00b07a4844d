//! The comparison with another provider, as a person asks for it: the CPU with another number of threads, and a provider
//! that is not there.

use super::{assert_controls_have_names, click, has_text, window};
use egui::Key;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use moescope::ui::app::App;
use std::time::{Duration, Instant};

fn compare(harness: &mut Harness<'static, App>, provider: &str) {
    click(harness, "Other provider: WebGPU");
    click(harness, provider);
    harness.get_by_label("Compare 1 image").click();
    let start = Instant::now();
    harness.run_steps(3);
    while harness.state().state().parity.is_running() {
        assert!(start.elapsed() < Duration::from_secs(120), "no comparison after two minutes");
        std::thread::sleep(Duration::from_millis(5));
        harness.step();
    }
    harness.run_steps(3);
}

#[test]
fn the_cpu_with_other_threads_hardly_differs() {
    let mut harness = window();
    harness.key_press(Key::P);
    super::settle(&mut harness);
    assert_controls_have_names(&harness);
    compare(&mut harness, "CPU");
    let state = harness.state().state();
    let (flipped, patches) = state.parity.sum.flipped_of();
    let layers = state.shown().expect("a result").analysis.trace.layers.len();
    assert_eq!((patches, state.parity.sum.images), (196 * layers, 1));
    assert!(flipped <= 2, "{flipped} patches: only rounding differs");
    assert!(state.parity.sum.max_logit_difference < 1e-3, "{}", state.parity.sum.max_logit_difference);
    assert!(has_text(&harness, "The CPU against CPU with 1 thread at k = 2"));
    assert!(has_text(&harness, &format!("Layer 3: {} of 196", state.parity.sum.layers[2].flipped)));
    assert_controls_have_names(&harness);
    // The window goes on: keys work, and another layer is shown.
    harness.key_press(Key::PageDown);
    super::settle(&mut harness);
    harness.get_by_label("Load · layer 2");
    harness.key_press(Key::P);
    super::settle(&mut harness);
    assert!(!has_text(&harness, "The CPU against"));
}

#[test]
fn a_provider_that_is_not_there_says_what_to_do() {
    let mut harness = window();
    harness.key_press(Key::P);
    super::settle(&mut harness);
    compare(&mut harness, "CUDA");
    assert!(has_text(&harness, "CUDA") && has_text(&harness, "moescope runtime install"), "the reason and the remedy");
    let state = harness.state().state();
    assert!(state.parity.images.is_empty() && state.shown().is_some(), "what was shown stays");
}
