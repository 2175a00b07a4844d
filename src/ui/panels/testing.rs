//! A panel alone in a window, for the tests of panels: its commands change the state as in the real one, and are kept.

use crate::analysis::{ImageId, Outcome, OutcomeId};
use crate::routing::LayerRouting;
use crate::ui::command::{Command, CommandSender};
use crate::ui::ctx::ViewCtx;
use crate::ui::settings::Settings;
use crate::ui::state::{AppState, tests::analysis_of, tests::open_model};
use crate::ui::waker::Waker;
use egui::Ui;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use std::sync::Arc;
use std::sync::mpsc::channel;

/// The state with a result on screen: an image of a pixel for each patch of a grid, and the layers' routings.
pub(super) fn state_of(layers: Vec<LayerRouting>, rows: usize, cols: usize) -> AppState {
    let model = Arc::new(open_model("model.onnx"));
    let mut state = AppState::new(Settings::default(), None);
    state.results.show(Outcome {
        id: OutcomeId(0),
        image: ImageId(0),
        model,
        analysis: Arc::new(analysis_of(layers, rows, cols)),
    });
    state
}

/// The panel, the state that it shows, and the commands that it sent.
pub(super) struct Alone {
    pub harness: Harness<'static, (AppState, Vec<Command>)>,
}

impl Alone {
    /// `local` is what the panel remembers by itself.
    pub fn new<L: 'static>(
        state: AppState,
        mut local: L,
        panel: impl Fn(&mut Ui, &ViewCtx<'_>, &mut L) + 'static,
    ) -> Self {
        let (sender, inbox) = channel::<Command>();
        let mut prepared = false;
        let harness = Harness::builder().with_size([1280.0, 800.0]).build_ui_state(
            move |ui, (state, sent): &mut (AppState, Vec<Command>)| {
                if !std::mem::replace(&mut prepared, true) {
                    return crate::ui::design::install(ui.ctx());
                }
                while let Ok(command) = inbox.try_recv() {
                    sent.push(command.clone());
                    state.apply(command);
                }
                let commands = CommandSender::new(sender.clone(), Waker::new(ui.ctx()));
                panel(ui, &ViewCtx::new(state, &commands, false, None), &mut local);
            },
            (state, Vec::new()),
        );
        let mut alone = Self { harness };
        alone.harness.run_steps(3);
        alone
    }

    pub fn click(&mut self, label: &str) {
        self.harness.get_by_label(label).click();
        self.harness.run_steps(3);
    }

    pub fn has(&self, part: &str) -> bool {
        self.harness.query_all_by_label_contains(part).next().is_some()
    }

    pub fn state(&mut self) -> &mut AppState {
        &mut self.harness.state_mut().0
    }

    pub fn sent(&self) -> &[Command] {
        &self.harness.state().1
    }
}
