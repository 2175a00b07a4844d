//! The comparison with results that no real provider has to bring about, and what it asks for.

use super::*;
use crate::analysis::{ComparisonEvent, ImageSpec, Parity};
use crate::engine::ProviderWish;
use crate::routing::{LayerIdx, LayerRouting, PatchIdx, TopK};
use crate::ui::panels::testing::{Alone, state_of};
use crate::ui::state::AppState;
use egui_kittest::kittest::Queryable;
use std::sync::Arc;

/// Two experts, four patches with margins of 0.5, 0.02, 2e-5 and 2e-7.
fn layer(chosen: [i64; 4]) -> LayerRouting {
    let gates = [0.5, 0.02, 2e-5, 2e-7].map(|margin: f32| [0.5 + margin / 2.0, 0.5 - margin / 2.0]);
    LayerRouting::new("block", 2, TopK::new(1, 2).unwrap(), gates.concat(), &chosen, vec![1.0; 4]).unwrap()
}

/// The window's state with one image whose two layers have 2 × 2 patches.
fn state() -> AppState {
    let mut state = state_of(vec![layer([0; 4]), layer([0; 4])], 2, 2);
    state.apply(Command::OpenSample(crate::input::SAMPLES[0].id));
    state.sheet = Some(Sheet::Parity);
    state
}

/// As if the other provider had chosen these experts.
fn parity(state: &AppState, other: [[i64; 4]; 2]) -> Parity {
    let reference = &state.shown().unwrap().analysis;
    let mut changed = (**reference).clone();
    changed.trace.layers = other.map(layer).into();
    changed.logits[0] += 0.25;
    Parity::of(reference, &changed).unwrap()
}

/// The state after a comparison in which one patch of the first layer and two of the second changed.
fn compared(mut state: AppState) -> AppState {
    let (image, top_k) = (state.shown().unwrap().image, state.shown().unwrap().analysis.top_k);
    state.model.open = Some(Arc::clone(&state.shown().unwrap().model));
    state.apply(Command::StartParity(Execution::on(Provider::WebGpu)));
    state.parity.wish.as_mut().unwrap().top_k = top_k;
    let found = parity(&state, [[0, 0, 0, 1], [0, 1, 1, 0]]);
    for event in [ComparisonEvent::Ready, ComparisonEvent::Compared(image, found), ComparisonEvent::Done] {
        state.parity.hear(event);
    }
    state
}

fn view(state: AppState) -> Alone {
    Alone::new(state, ParityUi::default(), |ui, ctx, local| parity_ui(ui, ctx, local))
}

fn asked(view: &Alone) -> Vec<&Execution> {
    let asked = view.sent().iter().filter_map(|command| match command {
        Command::StartParity(execution) => Some(execution),
        _ => None,
    });
    asked.collect()
}

#[test]
fn what_is_chosen_is_asked_for_and_can_be_stopped() {
    let mut state = state();
    let model = state.shown().unwrap().model.clone();
    state.model.open = Some(model);
    state.model.execution.provider.options.device = Some(1);
    let mut view = view(state);
    view.click("Half precision");
    view.click("Compare 1 image");
    let options = |execution: &Execution| execution.provider.options.clone();
    let [half] = asked(&view)[..] else { panic!("one wish") };
    assert_eq!(half.provider.choice, ProviderChoice::Require(Provider::WebGpu));
    assert_eq!((options(half).precision, options(half).device), (Precision::Half, Some(1)));
    let wish = view.state().parity.wanted().cloned().unwrap();
    assert_eq!((wish.number, wish.top_k), (1, Some(2)));
    assert!(matches!(wish.images[..], [(_, ImageSpec::Sample(_))]));
    assert!(view.has("Opening the model on both"));
    view.click("Stop");
    assert_eq!(view.state().parity.wanted(), None);
    assert!(view.has("Stopped after 0 of 1 images"));

    view.click("Other provider: WebGPU");
    view.click("CPU");
    view.click("Compare 1 image");
    let wished = asked(&view)[1].clone();
    let provider = ProviderWish { choice: ProviderChoice::Require(Provider::Cpu), options: options(&wished) };
    assert_eq!(wished, Execution { threads: Some(1), provider });
    assert_eq!(options(&wished).precision, Precision::Full, "the CPU has no other");
    assert_eq!(view.state().parity.wanted().map(|wish| wish.number), Some(2));
}

#[test]
fn flips_are_shown_by_margin_and_a_click_leads_to_the_patch() {
    let state = compared(state());
    let mut view = view(state);
    assert!(view.has("1 image: 3 of 8 patches of 2 layers changed experts; logits differ by 2.5e-1 at most"));
    assert!(view.has("The CPU against WebGPU"));
    view.harness.get_by_label(
        "Layer 1: 1 of 4 patches changed experts; by margin: 1 of 1 below 1e-6, 0 of 1 below 1e-4, 0 of 1 below 1e-1, 0 of 1 \
         above; gates differ by 0 at most",
    );
    view.click("Layer 2 · patch (0, 1): experts 0 → 1 · margin 2.0e-2");
    let shown = &view.state().view;
    assert_eq!((shown.layer, shown.pinned), (LayerIdx(1), Some(PatchIdx(1))));
    // The same image at another k was not compared.
    view.state().parity.wish.as_mut().unwrap().top_k = Some(7);
    view.harness.run_steps(2);
    assert!(view.has("This image was not compared at this top-k"));
}

#[test]
fn layers_are_counted_as_in_the_list_of_layers() {
    let mut state = state();
    let mut outcome = state.shown().unwrap().clone();
    let places = &mut Arc::make_mut(&mut outcome.analysis).places;
    places[1].source = places[0].source;
    state.results.show(outcome);
    let view = view(compared(state));
    view.harness.get_by_label("Layer 1 · iteration 2 of 2 · patch (0, 1): experts 0 → 1 · margin 2.0e-2");
    assert!(view.has("Layer 1 · iteration 2 of 2: 2 of 4 patches changed experts"));
}

#[test]
fn what_cannot_be_compared_says_why() {
    let mut state = state();
    let image = state.shown().unwrap().image;
    state.model.open = Some(Arc::clone(&state.shown().unwrap().model));
    state.apply(Command::StartParity(Execution::on(Provider::Cuda)));
    state.parity.hear(ComparisonEvent::ImageFailed(image, "cat.png is truncated".into()));
    state.parity.hear(ComparisonEvent::Failed("CUDA did not start: libcublasLt.so.13 is missing".into()));
    let mut view = view(state);
    assert!(view.has("cat.png is truncated") && view.has("libcublasLt.so.13 is missing"));
    assert!(view.harness.query_by_label("Stop").is_none(), "nothing runs any more");
    view.click("Close");
    assert_eq!(view.state().sheet, None);
}
