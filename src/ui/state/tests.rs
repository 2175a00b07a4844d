//! Commands and events against the state, without a window, a worker or a GPU.

use super::*;
use crate::analysis::{
    Analysis, LayerOffer, LayerPlace, LayerStats, ModelVersion, OpenModel, OutcomeId, StageSeconds, TokenPlace,
};
use crate::engine::{Execution, ModelHandle, Provider};
use crate::input::ImageSource;
use crate::model::{CardSource, ModelCard, ModelDescription};
use crate::report::Copied;
use crate::routing::{ExpertIdx, LayerIdx, LayerRouting, PatchGrid, PatchIdx, PixelRect, RoutingTrace, TopK};

const NUM_EXPERTS: usize = 4;

fn layer(top_k: usize) -> LayerRouting {
    let ids: Vec<i64> = (0..top_k as i64).collect();
    let k = TopK::new(top_k, NUM_EXPERTS).unwrap();
    LayerRouting::new("block", NUM_EXPERTS, k, vec![0.25; NUM_EXPERTS], &ids, vec![0.5; top_k]).unwrap()
}

fn analysis(top_k: usize) -> Analysis {
    Analysis { top_k: Some(top_k), ..analysis_of(vec![layer(top_k), layer(top_k)], 1, 1) }
}

/// A result: an image of a pixel for each patch of a grid, and the layers' routings.
pub(in crate::ui) fn analysis_of(layers: Vec<LayerRouting>, rows: usize, cols: usize) -> Analysis {
    let [width, height] = [cols as u32, rows as u32];
    let seen = PixelRect { x: 0.0, y: 0.0, width: width as f32, height: height as f32 };
    let tokens = TokenPlace::Patches(PatchGrid { rows, cols, seen });
    let rgba = vec![0; 4 * rows * cols].into();
    Analysis {
        image: Arc::new(DecodedImage { source: ImageSource::Clipboard(0), width, height, rgba }),
        top_k: None,
        change: RoutingChange::default(),
        seen,
        places: (0..layers.len()).map(|source| LayerPlace { tokens, source }).collect(),
        unreadable: Vec::new(),
        logits: vec![0.0],
        predictions: Vec::new(),
        detections: Vec::new(),
        layers: layers.iter().map(LayerStats::of).collect(),
        trace: RoutingTrace { layers },
        seconds: StageSeconds::default(),
        provider: Provider::Cpu,
    }
}

pub(in crate::ui) fn open_model(path: &str) -> OpenModel {
    let card = serde_json::json!({
        "schema": ModelCard::SCHEMA,
        "name": "test",
        "input": {
            "name": "pixels", "layout": "NCHW", "height": 1, "width": 1, "crop": "none",
            "resize": {"rule": "stretch", "size": 1, "filter": "bilinear"},
            "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0],
        },
        "top_k": {"input": "top_k", "min": 1, "max": NUM_EXPERTS, "default": 2},
        "logits": "logits",
        "grid": {"rows": 1, "cols": 1},
    });
    OpenModel {
        path: path.into(),
        card: serde_json::from_value(card).unwrap(),
        card_source: CardSource::Metadata,
        reasons: Vec::new(),
        version: ModelVersion::look(path.as_ref(), []),
        description: ModelDescription {
            path: path.into(),
            file_bytes: 0,
            ir_version: 10,
            opsets: Default::default(),
            producer: String::new(),
            graph_name: String::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            metadata: Default::default(),
            inner_tensors: Default::default(),
            num_nodes: 0,
            operators: Default::default(),
            unknown_operators: Vec::new(),
            external_files: Vec::new(),
            num_weights: 0,
        },
        routers: Default::default(),
        layers: Vec::new(),
        hidden_routing: None,
        controls: Default::default(),
        handle: ModelHandle(0),
        execution: Default::default(),
        provider: Provider::Cpu,
        not_started: Vec::new(),
        placement: Default::default(),
        load_secs: 0.0,
    }
}

/// A window's state with two images and an open model, as after the first start.
struct Fixture {
    state: AppState,
    model: Arc<OpenModel>,
    next: u64,
}

impl Fixture {
    fn new() -> Self {
        let mut state = AppState::new(Settings::default(), Some("default.onnx".into()));
        let model = Arc::new(open_model("default.onnx"));
        state.apply(Command::OpenPaths(vec!["a.png".into(), "b.png".into()]));
        state.hear(Event::ModelOpened(Arc::clone(&model)));
        Self { state, model, next: 0 }
    }

    fn current(&self) -> ImageId {
        self.state.images.current().unwrap().id
    }

    fn result(&mut self, image: ImageId, top_k: usize) -> OutcomeId {
        self.next += 1;
        let id = OutcomeId(self.next);
        let outcome = Outcome { id, image, model: Arc::clone(&self.model), analysis: Arc::new(analysis(top_k)) };
        self.state.hear(Event::Analysed(outcome));
        id
    }

    fn shown(&self) -> Option<OutcomeId> {
        self.state.shown().map(|shown| shown.id)
    }
}

#[test]
fn the_old_result_stays_until_the_wanted_one_is_there() {
    let mut fixture = Fixture::new();
    let image = fixture.current();
    let at_two = fixture.result(image, 2);
    fixture.state.apply(Command::SetTopK(4));
    assert_eq!((fixture.shown(), fixture.state.wanted().setting.top_k), (Some(at_two), Some(4)));
    fixture.result(image, 3);
    assert_eq!(fixture.shown(), Some(at_two), "three experts were wanted by nobody any more");
    let at_four = fixture.result(image, 4);
    assert_eq!(fixture.shown(), Some(at_four));
}

#[test]
fn a_result_of_another_image_is_not_shown() {
    let mut fixture = Fixture::new();
    let second = fixture.current();
    fixture.state.apply(Command::StepImage(1));
    fixture.result(second, 2);
    assert_eq!(fixture.shown(), None);
}

#[test]
fn top_k_stays_in_the_range_of_the_model() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.state.wanted_top_k(), Some(2), "the model's default");
    fixture.state.apply(Command::StepTopK(-5));
    assert_eq!(fixture.state.wanted_top_k(), Some(1));
    fixture.state.apply(Command::SetTopK(99));
    assert_eq!(fixture.state.wanted_top_k(), Some(NUM_EXPERTS));
}

/// The result of a change, for the image and top-k that are wanted.
fn result_of(fixture: &mut Fixture, change: &RoutingChange) -> OutcomeId {
    fixture.next += 1;
    let (id, image) = (OutcomeId(fixture.next), fixture.current());
    let top_k = fixture.state.wanted_top_k().unwrap();
    let analysis = Arc::new(Analysis { change: change.clone(), ..analysis(top_k) });
    fixture.state.hear(Event::Analysed(Outcome { id, image, model: Arc::clone(&fixture.model), analysis }));
    id
}

#[test]
fn a_change_is_part_of_the_wish_and_only_its_own_result_is_shown() {
    let mut fixture = Fixture::new();
    let itself = result_of(&mut fixture, &RoutingChange::default());
    fixture.state.apply(Command::ToggleBan(ExpertIdx(3)));
    let change = fixture.state.wanted().setting.change;
    assert!(change.is_banned(1, ExpertIdx(3)), "in the layer on screen");
    result_of(&mut fixture, &RoutingChange::default());
    assert_eq!(fixture.shown(), Some(itself), "the unchanged one was shown already");
    let changed = result_of(&mut fixture, &change);
    let unchanged = fixture.state.results.unchanged().unwrap();
    assert_eq!((fixture.shown(), unchanged.changed.len()), (Some(changed), 2));
    assert_eq!(unchanged.changed[0].unwrap().changed_share, 0.0);
    fixture.state.apply(Command::ResetRouting);
    assert!(fixture.state.wanted().setting.change.is_none() && fixture.state.is_changed(), "the picture is not yet");
    let again = result_of(&mut fixture, &RoutingChange::default());
    assert_eq!((fixture.shown(), fixture.state.is_changed()), (Some(again), false));
    assert!(fixture.state.results.unchanged().is_none());
}

#[test]
fn a_banned_expert_that_has_patches_all_the_same_is_pointed_out() {
    let mut fixture = Fixture::new();
    result_of(&mut fixture, &RoutingChange::default());
    fixture.state.apply(Command::ToggleBan(ExpertIdx(0)));
    let change = fixture.state.wanted().setting.change;
    result_of(&mut fixture, &change);
    let details: Vec<&str> = fixture.state.notices.iter().map(|notice| notice.details.as_str()).collect();
    assert_eq!(details, ["block: expert 0 is banned, and the rule left 1 of 1 patches no other"]);
}

#[test]
fn as_many_experts_and_ranks_are_left_as_each_token_takes() {
    let mut fixture = Fixture::new();
    result_of(&mut fixture, &RoutingChange::default());
    for expert in [0, 1, 2, 9] {
        fixture.state.apply(Command::ToggleBan(ExpertIdx(expert)));
    }
    let banned = [0, 1, 2, 9].map(|expert| fixture.state.is_ban_wanted(ExpertIdx(expert)));
    assert_eq!(banned, [true, true, false, false], "two of four are left at k = 2");
    assert!(fixture.state.ban_obstacle().unwrap().contains("takes 2 experts"));
    for rank in [1, 0, 7] {
        fixture.state.apply(Command::ToggleRank(rank));
    }
    assert!(fixture.state.is_rank_out_wanted(1) && !fixture.state.is_rank_out_wanted(0), "one has to stay");
    fixture.state.apply(Command::SetTopK(1));
    assert!(!fixture.state.is_rank_out_wanted(1), "there is no second rank any more");
    fixture.state.apply(Command::ToggleBan(ExpertIdx(0)));
    assert!(!fixture.state.is_ban_wanted(ExpertIdx(0)), "banned once more is allowed again");
}

#[test]
fn a_change_that_was_refused_or_belongs_to_another_model_is_no_more() {
    let mut fixture = Fixture::new();
    result_of(&mut fixture, &RoutingChange::default());
    fixture.state.apply(Command::ToggleBan(ExpertIdx(3)));
    let change = fixture.state.wanted().setting.change;
    fixture.state.hear(Event::ChangeRefused { change: change.clone(), message: "it was not proved".into() });
    assert!(fixture.state.wanted().setting.change.is_none());
    assert_eq!(fixture.state.notices[0].details, "it was not proved");
    let offer = |ban: Result<(), String>| LayerOffer { ban, ranks: Ok(()) };
    let offers = [offer(Ok(())), offer(Err("not this one".into()))].into();
    fixture.state.hear(Event::Offers { model: Arc::clone(&fixture.model), offers });
    assert_eq!(fixture.state.ban_obstacle().as_deref(), Some("not this one"));
    fixture.state.apply(Command::ToggleBan(ExpertIdx(3)));
    assert!(fixture.state.wanted().setting.change.is_none());
    fixture.state.apply(Command::SelectLayer(LayerIdx(0)));
    fixture.state.apply(Command::ToggleBan(ExpertIdx(3)));
    assert!(!fixture.state.wanted().setting.change.is_none());
    fixture.state.hear(Event::ModelOpened(Arc::new(open_model("other.onnx"))));
    assert!(fixture.state.wanted().setting.change.is_none());
}

#[test]
fn a_k_that_turns_out_to_be_changeable_is_wanted_at_its_default() {
    let mut fixture = Fixture::new();
    let known = OpenModel { handle: ModelHandle(7), ..open_model("default.onnx") };
    let mut fixed = known.clone();
    let default = fixed.card.top_k.take().unwrap().default;
    fixture.state.hear(Event::ModelOpened(Arc::new(fixed)));
    assert_eq!(fixture.state.wanted_top_k(), None);
    let other = OpenModel { handle: ModelHandle(8), ..known.clone() };
    fixture.state.hear(Event::Offers { model: Arc::new(other), offers: [].into() });
    assert_eq!(fixture.state.wanted_top_k(), None, "of a session that is no more");
    fixture.state.hear(Event::Offers { model: Arc::new(known), offers: [].into() });
    assert_eq!(fixture.state.wanted_top_k(), Some(default));
}

#[test]
fn an_unreadable_image_leaves_what_was_shown_and_can_be_tried_again() {
    let mut fixture = Fixture::new();
    let good = fixture.current();
    let shown = fixture.result(good, 2);
    fixture.state.apply(Command::OpenPaths(vec!["broken.png".into()]));
    let broken = fixture.current();
    fixture.state.hear(Event::ImageFailed { image: broken, message: "it is empty".into() });
    assert_eq!((fixture.shown(), fixture.current()), (Some(shown), good));
    assert_eq!(fixture.state.notices.len(), 1);
    assert!(fixture.state.notices[0].title.contains("broken.png"), "{:?}", fixture.state.notices);
    fixture.state.apply(Command::SelectImage(broken));
    assert_eq!(fixture.state.wanted().image.unwrap().0, broken, "asking again tries again");
}

#[test]
fn a_model_that_cannot_be_opened_leaves_the_one_before() {
    let mut fixture = Fixture::new();
    fixture.state.apply(Command::OpenPaths(vec!["other.ONNX".into()]));
    assert_eq!(fixture.state.model.wanted, Some("other.ONNX".into()));
    fixture.state.hear(Event::ModelFailed {
        path: "other.ONNX".into(),
        quarantined: false,
        missing: None,
        message: "not an ONNX file".into(),
    });
    assert_eq!(fixture.state.model.wanted, Some("default.onnx".into()));
    assert_eq!(fixture.state.settings.model, None, "a broken model is not remembered");
}

#[test]
fn values_that_cannot_be_are_pointed_out_once_for_a_model() {
    let mut fixture = Fixture::new();
    let image = fixture.current();
    for (top_k, gates) in [(2, [f32::NAN, 0.5, 0.5, 0.0]), (2, [0.5, 0.5, 0.5, 0.0])] {
        let k = TopK::new(top_k, NUM_EXPERTS).unwrap();
        let routing = LayerRouting::new("block", NUM_EXPERTS, k, gates.to_vec(), &[0, 1], vec![0.5; 2]).unwrap();
        let mut analysis = analysis(top_k);
        (analysis.layers, analysis.trace.layers) = (vec![LayerStats::of(&routing)], vec![routing]);
        let outcome =
            Outcome { id: OutcomeId(9), image, model: Arc::clone(&fixture.model), analysis: Arc::new(analysis) };
        fixture.state.hear(Event::Analysed(outcome));
    }
    let details: Vec<&str> = fixture.state.notices.iter().map(|notice| notice.details.as_str()).collect();
    assert_eq!(details, ["block: 1 gates and weights are NaN or infinite (1 of 1 patches)"]);
    assert!(fixture.shown().is_some(), "what the model gave is shown all the same");
}

#[test]
fn a_model_that_changed_is_opened_anew_when_the_person_says_so() {
    let mut fixture = Fixture::new();
    let image = fixture.current();
    let old = [fixture.result(image, 1), fixture.result(image, 2)];
    fixture.state.apply(Command::SetTopK(4));
    for gone in [true, false, false] {
        fixture.state.hear(Event::ModelChanged { path: "default.onnx".into(), gone });
    }
    let reload = vec![NoticeAction::ReloadModel];
    let actions: Vec<_> = fixture.state.notices.iter().map(|notice| notice.actions.clone()).collect();
    assert_eq!(actions, [Vec::new(), reload], "{:?}", fixture.state.notices);
    assert!(fixture.state.notices[1].title.contains("default.onnx"));
    fixture.state.apply(NoticeAction::ReloadModel.command());
    assert_eq!((fixture.state.model.reload, fixture.state.notices.len()), (1, 1));
    let version = ModelVersion::look("another version".as_ref(), []);
    fixture.model = Arc::new(OpenModel { version, ..open_model("default.onnx") });
    fixture.state.hear(Event::ModelOpened(Arc::clone(&fixture.model)));
    assert_eq!(fixture.state.wanted_top_k(), Some(4), "it is still the same model");
    let new = fixture.result(image, 4);
    let on_screen: Vec<OutcomeId> = fixture.state.results.multiples().iter().map(|other| other.outcome.id).collect();
    assert_eq!((fixture.shown(), on_screen), (Some(new), vec![new]), "{old:?} are of the version before");
    fixture.state.apply(Command::OpenPaths(vec!["default.onnx".into()]));
    assert_eq!(fixture.state.model.reload, 2, "opening the same file again opens it anew");
}

#[test]
fn picking_out_twice_is_putting_back() {
    let mut fixture = Fixture::new();
    let image = fixture.current();
    fixture.result(image, 2);
    for expected in [Some(ExpertIdx(1)), None] {
        fixture.state.apply(Command::LightExpert(ExpertIdx(1)));
        assert_eq!(fixture.state.view.lit_expert, expected);
    }
    for expected in [Some(PatchIdx(0)), None] {
        fixture.state.apply(Command::Pin(PatchIdx(0)));
        assert_eq!(fixture.state.view.pinned, expected);
    }
}

#[test]
fn the_pin_moves_by_keys_and_stays_on_the_grid() {
    let mut fixture = Fixture::new();
    fixture.state.apply(Command::MovePin { rows: 0, cols: 1 });
    assert_eq!(fixture.state.view.pinned, None, "there is nothing to pin yet");
    let image = fixture.current();
    fixture.result(image, 2);
    for (rows, cols) in [(0, 1), (0, 1), (-1, 0)] {
        fixture.state.apply(Command::MovePin { rows, cols });
        assert_eq!(fixture.state.view.pinned, Some(PatchIdx(0)), "a grid of one patch");
    }
}

#[test]
fn layers_stop_at_both_ends() {
    let mut fixture = Fixture::new();
    let image = fixture.current();
    fixture.result(image, 2);
    assert_eq!(fixture.state.view.layer.0, 1, "the middle one of two comes first");
    for (places, expected) in [(-1, 0), (-1, 0), (1, 1), (5, 1)] {
        fixture.state.apply(Command::StepLayer(places));
        assert_eq!(fixture.state.view.layer.0, expected, "after {places}");
    }
}

#[test]
fn the_row_of_multiples_holds_the_shown_image_in_order_of_top_k() {
    let mut fixture = Fixture::new();
    let image = fixture.current();
    for top_k in [2, 4, 1] {
        fixture.result(image, top_k);
    }
    let row = |fixture: &Fixture| -> Vec<usize> {
        fixture.state.results.multiples().iter().map(|multiple| multiple.top_k).collect()
    };
    assert_eq!(row(&fixture), [1, 2, 4]);
    let changed = fixture.state.results.multiples()[0].changed[0].unwrap();
    assert_eq!((changed.changed_share, changed.common_ranks_changed_share), (1.0, 0.0));
    fixture.state.apply(Command::SetTopK(3));
    fixture.result(image, 3);
    assert_eq!(row(&fixture), [1, 2, 3, 4], "the shown one is always in the row");
    fixture.state.apply(Command::SetTopK(2));
    fixture.result(image, 2);
    assert_eq!(row(&fixture), [1, 2, 4], "what only the slider brought goes");
    fixture.state.apply(Command::StepImage(1));
    let other = fixture.current();
    fixture.result(other, 2);
    assert_eq!(row(&fixture), [2]);
}

#[test]
fn messages_do_not_repeat_and_do_not_pile_up() {
    let mut state = AppState::new(Settings::default(), None);
    for text in ["a", "a", "b", "c", "d"] {
        state.notify("Title", text);
    }
    let details: Vec<&str> = state.notices.iter().map(|notice| notice.details.as_str()).collect();
    assert_eq!(details, ["b", "c", "d"]);
    state.apply(Command::DismissNotice(1));
    state.apply(Command::DismissNotice(7));
    assert_eq!(state.notices.len(), 2);
}

#[test]
fn a_model_in_quarantine_is_opened_when_a_person_trusts_it() {
    let mut fixture = Fixture::new();
    let path = PathBuf::from("other.onnx");
    fixture.state.apply(Command::OpenPaths(vec![path.clone()]));
    let failed =
        Event::ModelFailed { path: path.clone(), quarantined: true, missing: None, message: "it ended twice".into() };
    fixture.state.hear(failed);
    let action = fixture.state.notices[0].actions[0].clone();
    assert_eq!((action.label(), fixture.state.model.pardon), ("Try again", 0));
    fixture.state.apply(action.command());
    assert_eq!((fixture.state.model.wanted.clone(), fixture.state.model.pardon), (Some(path), 1));
    assert!(fixture.state.notices.is_empty());
}

#[test]
fn a_model_whose_weights_are_missing_opens_once_they_are_there() {
    let mut fixture = Fixture::new();
    let (model, place) = (PathBuf::from("other.bin"), PathBuf::from("weights.bin"));
    let failed = Event::ModelFailed {
        path: model.clone(),
        quarantined: false,
        missing: Some(place.clone()),
        message: "the file weights.bin is missing".into(),
    };
    fixture.state.hear(failed);
    let [locate, retry] = &fixture.state.notices[0].actions.clone()[..] else { panic!("two buttons") };
    assert_eq!((locate.label(), retry.label()), ("Locate…", "Try again"));
    assert!(locate.explanation().contains("weights.bin"));
    let Command::ShowLocateDialog(missing) = locate.command() else { panic!("a dialog") };
    assert_eq!(missing, MissingFile { model: model.clone(), place });
    fixture.state.apply(Command::FilePlaced(missing.clone(), Err("the disk is full".into())));
    assert_eq!(fixture.state.model.wanted, Some("default.onnx".into()));
    assert_eq!((fixture.state.notices.len(), &*fixture.state.notices[1].details), (2, "the disk is full"));
    let progress = CopyProgress { done: 1, total: 2 };
    fixture.state.apply(Command::FileCopied(missing.clone(), progress));
    assert_eq!(fixture.state.copying, Some((missing.clone(), progress)));
    fixture.state.apply(Command::FilePlaced(missing.clone(), Ok(Copied::Stopped)));
    assert_eq!((fixture.state.copying.clone(), fixture.state.notices.len()), (None, 2), "the offer stays");
    fixture.state.apply(Command::FilePlaced(missing, Ok(Copied::Whole)));
    assert_eq!(fixture.state.model.wanted, Some(model));
    assert!(fixture.state.notices.is_empty(), "{:?}", fixture.state.notices);
}

#[test]
fn a_comparison_belongs_to_the_model_that_it_was_made_with() {
    let mut fixture = Fixture::new();
    fixture.state.apply(Command::StartParity(Execution::on(Provider::WebGpu)));
    let numbers = |fixture: &Fixture| fixture.state.parity.wanted().map(|wish| (wish.number, wish.images.len()));
    assert_eq!(numbers(&fixture), Some((1, 2)));
    // The same file on something else is the same model.
    fixture.state.hear(Event::ModelOpened(Arc::clone(&fixture.model)));
    assert_eq!(numbers(&fixture), Some((1, 2)));
    fixture.state.hear(Event::ModelOpened(Arc::new(open_model("other.onnx"))));
    assert_eq!((numbers(&fixture), fixture.state.parity.wish.is_none()), (None, true));
    fixture.state.apply(Command::StartParity(Execution::on(Provider::WebGpu)));
    assert_eq!(numbers(&fixture), Some((2, 2)), "a number is given once");
}

#[test]
fn a_model_runs_on_what_was_chosen_for_it() {
    use crate::engine::ProviderChoice::{Auto, Prefer};
    let mut fixture = Fixture::new();
    let choice = |fixture: &Fixture| fixture.state.wanted().model.expect("a model").execution.provider.choice;
    assert_eq!(choice(&fixture), Auto);
    fixture.state.apply(Command::SetProvider(Prefer(Provider::WebGpu)));
    assert_eq!(choice(&fixture), Prefer(Provider::WebGpu));
    fixture.state.apply(Command::OpenPaths(vec!["other.onnx".into()]));
    assert_eq!(choice(&fixture), Auto, "the choice is for one model");
    fixture.state.apply(Command::OpenDefaultModel);
    assert_eq!(choice(&fixture), Prefer(Provider::WebGpu));
    fixture.state.apply(Command::SetProvider(Auto));
    assert!(fixture.state.settings.providers.is_empty());
}

#[test]
fn loading_can_be_given_up() {
    let mut fixture = Fixture::new();
    fixture.state.hear(Event::ModelOpened(Arc::new(open_model("default.onnx"))));
    fixture.state.apply(Command::OpenPaths(vec!["slow.onnx".into()]));
    fixture.state.hear(Event::ModelOpening("slow.onnx".into()));
    fixture.state.apply(Command::CancelOpening);
    assert_eq!(fixture.state.model.wanted, Some("default.onnx".into()));
    assert!(!fixture.state.model.opening);
}
