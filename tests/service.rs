//! The window's background worker with the real default model: the latest wish wins, and nothing is done twice.

use moescope::analysis::{AnalysisService, Event, ImageId, ImageSpec, Outcome, Wanted};
use moescope::engine::{Engine, EngineOptions, Execution};
use moescope::input::SAMPLES;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn service() -> AnalysisService {
    AnalysisService::start(Arc::new(Engine::start(EngineOptions::default())), Execution::default(), || {})
        .expect("a thread")
}

fn model() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/default/moescope-default.onnx")
}

fn wish(sample: usize, top_k: usize) -> Wanted {
    let image = (ImageId(sample as u64), ImageSpec::Sample(SAMPLES[sample].id));
    Wanted { model: Some(model()), image: Some(image), top_k: Some(top_k), compare: false }
}

/// Every event up to the first one that `last` accepts.
fn events_until(service: &AnalysisService, last: impl Fn(&Event) -> bool) -> Vec<Event> {
    let start = Instant::now();
    let mut events = Vec::new();
    loop {
        assert!(start.elapsed() < Duration::from_secs(120), "still waiting after {events:?}");
        match service.poll() {
            Some(event) => {
                let done = last(&event);
                events.push(event);
                if done {
                    return events;
                }
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn is_idle(event: &Event) -> bool {
    matches!(event, Event::Idle)
}

fn outcomes(events: &[Event]) -> Vec<&Outcome> {
    let analysed = events.iter().filter_map(|event| match event {
        Event::Analysed(outcome) => Some(outcome),
        _ => None,
    });
    analysed.collect()
}

#[test]
fn the_last_of_many_wishes_is_fulfilled_last() {
    let service = service();
    for round in 0..300 {
        service.want(wish(round % 3, 1 + round % 8));
        if round % 50 == 0 {
            std::thread::sleep(Duration::from_millis(30));
        }
    }
    service.want(wish(1, 5));
    // The worker is idle only when the wish that it took up was the latest; after this one nothing else may come.
    let events = events_until(
        &service,
        |event| matches!(event, Event::Analysed(outcome) if outcome.image == ImageId(1) && outcome.analysis.top_k == Some(5)),
    );
    let rest = events_until(&service, is_idle);
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert!(outcomes(&events).len() < 300, "most wishes were replaced before they were taken up");
}

#[test]
fn what_is_known_is_not_computed_again() {
    let service = service();
    let mut ids = Vec::new();
    for top_k in [2, 4, 2] {
        service.want(wish(0, top_k));
        let events = events_until(&service, is_idle);
        let outcomes = outcomes(&events);
        assert_eq!(outcomes.len(), 1, "{events:?}");
        assert_eq!(outcomes[0].analysis.top_k, Some(top_k));
        ids.push(outcomes[0].id);
        let opened = events.iter().filter(|event| matches!(event, Event::ModelOpened(_))).count();
        let decoded = events.iter().filter(|event| matches!(event, Event::ImageDecoded { .. })).count();
        let expected = usize::from(ids.len() == 1);
        assert_eq!((opened, decoded), (expected, expected), "model and image are read once: {events:?}");
    }
    assert_eq!(ids[0], ids[2]);
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn the_row_of_multiples_is_computed_after_the_wish() {
    let service = service();
    service.want(Wanted { compare: true, ..wish(0, 4) });
    let events = events_until(&service, is_idle);
    let top_ks: Vec<_> = outcomes(&events).iter().filter_map(|outcome| outcome.analysis.top_k).collect();
    assert_eq!(top_ks, [4, 1, 2, 8]);
}

#[test]
fn a_broken_image_does_not_keep_the_model_from_opening() {
    let service = service();
    let image = Some((ImageId(7), ImageSpec::File("no-such-image.png".into())));
    service.want(Wanted { image, ..wish(0, 2) });
    let events = events_until(&service, |event| matches!(event, Event::ModelOpened(_)));
    let failed = events.iter().any(|event| {
        matches!(event, Event::ImageFailed { image: ImageId(7), message } if message.contains("no-such-image.png"))
    });
    assert!(failed, "{events:?}");
}

#[test]
fn after_a_broken_model_the_next_one_works() {
    let service = service();
    let broken = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    service.want(Wanted { model: Some(broken.clone()), ..wish(0, 2) });
    let events = events_until(&service, |event| matches!(event, Event::ModelFailed { path, .. } if *path == broken));
    assert!(outcomes(&events).is_empty());
    service.want(wish(0, 2));
    assert_eq!(outcomes(&events_until(&service, is_idle)).len(), 1);
}

#[test]
fn closing_in_the_middle_of_a_run_does_not_wait_for_the_rest() {
    let service = service();
    service.want(Wanted { compare: true, ..wish(0, 8) });
    events_until(&service, |event| matches!(event, Event::ModelOpened(_)));
    let start = Instant::now();
    drop(service);
    assert!(start.elapsed() < Duration::from_secs(2), "took {:?}", start.elapsed());
}
