//! The window's background worker with a change of the routing among its wishes: it is proved once, cached like any other
//! setting, compared with the model as it is, and given up when nobody wants it any more.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking; clippy sees that only inside #[test] functions")]

#[path = "zoo/declared.rs"]
mod declared;
#[path = "zoo/row.rs"]
mod row;

use declared::{Outputs, declared};
use moescope::analysis::{
    AnalysisService, Event, ImageId, ImageSpec, ModelWish, Outcome, OutcomeId, RoutingChange, Setting, Wanted,
};
use moescope::engine::{Engine, EngineOptions, Isolation};
use moescope::input::SAMPLES;
use moescope::model::TopKInput;
use moescope::routing::{ExpertIdx, PatchIdx};
use row::rows;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Models run apart, as the program runs them: a session more is a process more.
fn service() -> AnalysisService {
    let isolation = Isolation::Process { program: env!("CARGO_BIN_EXE_moescope").into() };
    let engine = Engine::start(EngineOptions { isolation, ..EngineOptions::default() });
    AnalysisService::start(Arc::new(engine), || {}).unwrap()
}

fn wish(top_k: usize, change: &RoutingChange) -> Wanted {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default/moescope-default.onnx");
    Wanted {
        model: Some(ModelWish { path, ..ModelWish::default() }),
        image: Some((ImageId(0), ImageSpec::Sample(SAMPLES[0].id))),
        setting: Setting { top_k: Some(top_k), change: change.clone() },
        compare: false,
    }
}

/// Without these experts in the second layer.
fn banned(experts: &[u32]) -> RoutingChange {
    let mut change = RoutingChange::default();
    experts.iter().for_each(|&expert| change.toggle_expert(1, ExpertIdx(expert)));
    change
}

/// Every event up to the first one that `last` accepts.
fn events_until(service: &AnalysisService, last: impl Fn(&Event) -> bool) -> Vec<Event> {
    let start = Instant::now();
    let mut events = Vec::new();
    while !events.last().is_some_and(&last) {
        assert!(start.elapsed() < Duration::from_secs(120), "still waiting after {events:?}");
        match service.poll() {
            Some(event) => events.push(event),
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    events
}

fn settled(service: &AnalysisService, wanted: Wanted) -> Vec<Event> {
    service.want(wanted);
    events_until(service, |event| matches!(event, Event::Idle))
}

fn outcomes(events: &[Event]) -> Vec<&Outcome> {
    let analysed = events.iter().filter_map(|event| match event {
        Event::Analysed(outcome) => Some(outcome),
        _ => None,
    });
    analysed.collect()
}

fn ids(events: &[Event]) -> Vec<OutcomeId> {
    outcomes(events).iter().map(|outcome| outcome.id).collect()
}

fn offers(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::Offers { .. })).count()
}

#[test]
fn a_change_is_proved_once_cached_and_compared_with_the_model_as_it_is() {
    let service = service();
    let before = settled(&service, wish(2, &RoutingChange::default()));
    assert_eq!((outcomes(&before).len(), offers(&before)), (1, 0), "nothing is edited before it is asked for");
    let changed = settled(&service, wish(2, &banned(&[3])));
    assert_eq!(offers(&changed), 1);
    let [first, second] = outcomes(&changed)[..] else { panic!("{changed:?}") };
    assert_eq!(
        (&first.analysis.change, second.id),
        (&banned(&[3]), ids(&before)[0]),
        "the unchanged one is still there"
    );
    let layer = &first.analysis.trace.layers[1];
    assert!(layer.patches().all(|patch| !layer.experts_of(patch).contains(&ExpertIdx(3))));
    let had = |patch: PatchIdx| second.analysis.trace.layers[1].experts_of(patch).contains(&ExpertIdx(3));
    assert!(layer.patches().any(had), "it was an expert that patches choose");
    assert_eq!(first.analysis.trace.layers[0], second.analysis.trace.layers[0], "no layer comes before it");
    assert_ne!(first.analysis.logits, second.analysis.logits);

    let other = settled(&service, wish(2, &banned(&[3, 5])));
    assert_eq!((outcomes(&other).len(), offers(&other)), (2, 0));
    let again = settled(&service, wish(2, &banned(&[3])));
    assert_eq!((ids(&again), offers(&again)), (ids(&changed), 0), "its result is still there");
    assert_eq!(ids(&settled(&service, wish(2, &RoutingChange::default()))), ids(&before));
}

/// Its card declares the routing and no k: the first result does not wait until it is known whether k can be changed.
#[test]
fn the_k_of_a_model_whose_card_has_none_becomes_known_after_the_first_result() {
    let row = rows().into_iter().find(|row| row.name == "mixtral").unwrap();
    let (_folder, path) = declared(&row, Outputs::Own).unwrap();
    let service = service();
    let model = Some(ModelWish { path, ..ModelWish::default() });
    let at = |top_k: Option<usize>| {
        let setting = Setting { top_k, ..Setting::default() };
        Wanted { model: model.clone(), setting, ..wish(2, &RoutingChange::default()) }
    };
    let first = settled(&service, at(None));
    assert_eq!((outcomes(&first).len(), offers(&first)), (1, 0));
    assert_eq!(outcomes(&first)[0].analysis.top_k, None);
    let known = events_until(&service, |event| matches!(event, Event::Offers { .. }));
    let Some(Event::Offers { model: known, offers: of_layers }) = known.last() else { panic!("{known:?}") };
    assert!(known.is_same(&outcomes(&first)[0].model));
    let range = known.card.top_k.clone().unwrap();
    assert_eq!((range.input, range.min, range.default, range.max), (TopKInput::Edited, 1, 2, 8));
    assert!(of_layers.iter().all(|offer| offer.ban.is_ok()));

    // The same wish again, now at the k that it means.
    let by_default = events_until(&service, |event| matches!(event, Event::Idle));
    let four = settled(&service, at(Some(4)));
    let [by_default, four] = [&by_default, &four].map(|events| &outcomes(events)[0].analysis);
    assert_eq!(by_default.top_k, Some(2));
    assert_eq!(by_default.logits, outcomes(&first)[0].analysis.logits, "the model as it is, in the same session");
    assert_eq!((four.top_k, four.trace.layers[0].top_k()), (Some(4), 4));
    assert_ne!(four.logits, by_default.logits);
}

#[test]
fn the_last_of_many_changes_is_fulfilled_last() {
    let service = service();
    for round in 0..60 {
        service.want(wish(1 + round % 3, &banned(&[round as u32 % 5])));
        std::thread::sleep(Duration::from_millis(if round % 10 == 0 { 25 } else { 0 }));
    }
    let last = banned(&[7]);
    service.want(wish(4, &last));
    let is_last = |event: &Event| matches!(event, Event::Analysed(outcome) if outcome.analysis.change == last && outcome.analysis.top_k == Some(4));
    let events = events_until(&service, is_last);
    assert!(outcomes(&events).len() < 60, "most were replaced before they were taken up");
    let rest = events_until(&service, |event| matches!(event, Event::Idle));
    let [unchanged] = outcomes(&rest)[..] else { panic!("{rest:?}") };
    assert!(unchanged.analysis.change.is_none() && unchanged.analysis.top_k == Some(4));
}

/// Takes a change back after a while; whether it was being proved then.
fn is_given_up_after(millis: u64) -> bool {
    let service = service();
    let before = settled(&service, wish(2, &RoutingChange::default()));
    service.want(wish(2, &banned(&[3])));
    std::thread::sleep(Duration::from_millis(millis));
    let events = settled(&service, wish(2, &RoutingChange::default()));
    assert_eq!(outcomes(&events).last().unwrap().id, ids(&before)[0], "{events:?}");
    let given_up = offers(&events) == 0;
    let asked_again = settled(&service, wish(2, &banned(&[3])));
    assert_eq!((outcomes(&asked_again).len(), offers(&asked_again)), (2, usize::from(given_up)));
    given_up
}

/// How long it takes until the proof runs the model depends on the machine, and it then runs it for some tenths of a second.
#[test]
fn a_change_that_is_taken_back_while_it_is_proved_is_given_up() {
    let mut waits = (1..=12).map(|tenths| tenths * 100);
    assert!(waits.any(is_given_up_after), "no proof was given up");
}

#[test]
fn every_k_for_which_enough_experts_are_left_is_run_with_the_change() {
    let service = service();
    let events = settled(&service, Wanted { compare: true, ..wish(2, &banned(&[3])) });
    let runs = outcomes(&events)
        .into_iter()
        .map(|outcome| (outcome.analysis.top_k.unwrap(), outcome.analysis.change.is_none()));
    assert_eq!(runs.collect::<Vec<_>>(), [(2, false), (2, true), (1, false), (4, false)], "8 of 8 cannot be");
}

#[test]
fn a_change_that_cannot_be_is_refused_and_says_why() {
    let service = service();
    let mut none_left = RoutingChange::default();
    none_left.toggle_rank(1, 0);
    for (top_k, change, reason) in
        [(8, banned(&[3]), "each token takes 8"), (2, banned(&[9]), "there is no expert 9"), (1, none_left, "keep one")]
    {
        service.want(wish(top_k, &change));
        let events = events_until(&service, |event| matches!(event, Event::ChangeRefused { .. }));
        let Some(Event::ChangeRefused { change: refused, message }) = events.last() else { panic!("{events:?}") };
        assert!(*refused == change && message.contains(reason), "{message}");
    }
    assert_eq!(outcomes(&settled(&service, wish(2, &RoutingChange::default()))).len(), 1, "the model runs on as it is");
}
