//! The window's background worker with the real default model: the latest wish wins, and nothing is done twice.

use moescope::analysis::{
    AnalysisService, Comparison, ComparisonEvent, ComparisonWish, Event, ImageId, ImageSpec, ModelWish, Outcome,
    Setting, Wanted,
};
use moescope::engine::{Engine, EngineOptions, Execution, Isolation, Provider};
use moescope::input::SAMPLES;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn service() -> AnalysisService {
    AnalysisService::start(Arc::new(Engine::start(EngineOptions::default())), || {}).expect("a thread")
}

fn model() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/default/moescope-default.onnx")
}

fn wish_for(model: &Path, reload: u64) -> ModelWish {
    ModelWish { path: model.to_owned(), reload, ..ModelWish::default() }
}

fn wish(sample: usize, top_k: usize) -> Wanted {
    let image = (ImageId(sample as u64), ImageSpec::Sample(SAMPLES[sample].id));
    let setting = Setting::of_top_k(Some(top_k));
    Wanted { model: Some(wish_for(&model(), 0)), image: Some(image), setting, compare: false }
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
    service.want(Wanted { model: Some(wish_for(&broken, 0)), ..wish(0, 2) });
    let events = events_until(&service, |event| matches!(event, Event::ModelFailed { path, .. } if *path == broken));
    assert!(outcomes(&events).is_empty());
    service.want(wish(0, 2));
    assert_eq!(outcomes(&events_until(&service, is_idle)).len(), 1);
}

/// A folder with a copy of a small model, and its path.
fn small_model() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("small.onnx");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/tiny_moe.onnx");
    fs::copy(fixture, &path).expect("a copy");
    (folder, path)
}

#[test]
fn a_model_that_changes_on_disk_is_told_and_opened_anew_when_asked_for() {
    let (folder, path) = small_model();
    let service = service();
    let wish = |reload| Wanted { model: Some(wish_for(&path, reload)), ..wish(0, 2) };
    let run = |reload| {
        service.want(wish(reload));
        let events = events_until(&service, is_idle);
        let outcomes = outcomes(&events);
        assert_eq!(outcomes.len(), 1, "{events:?}");
        (outcomes[0].id, outcomes[0].model.card.name.clone())
    };
    let before = run(0);
    assert_eq!(run(1), before, "asked for again, but nothing has changed");
    let mut card = moescope::model::read_model(&path).and_then(|model| model.card()).expect("a card").0;
    card.name = "Corrected".into();
    let text = serde_json::to_string(&card).expect("JSON");
    fs::write(folder.path().join("small.card.json"), text).expect("a card beside the model");
    let told = events_until(&service, |event| matches!(event, Event::ModelChanged { .. }));
    assert!(matches!(&told[..], [Event::ModelChanged { path: changed, gone: false }] if *changed == path), "{told:?}");
    assert_eq!(run(1), before, "nobody asked for the new version");
    let after = run(2);
    assert_eq!(after.1, "Corrected");
    assert_ne!(after.0, before.0, "a result of the version before is not taken for one of the new one");
    assert_eq!(run(2), after);
}

#[test]
fn a_new_version_that_cannot_be_opened_leaves_the_one_before() {
    let (_folder, path) = small_model();
    let service = service();
    let wish = |reload| Wanted { model: Some(wish_for(&path, reload)), ..wish(0, 2) };
    service.want(wish(0));
    let events = events_until(&service, is_idle);
    let before = outcomes(&events)[0].id;
    fs::write(&path, "not a model").expect("written");
    service.want(wish(1));
    events_until(&service, |event| matches!(event, Event::ModelFailed { .. }));
    service.want(wish(1));
    assert_eq!(outcomes(&events_until(&service, is_idle))[0].id, before);
    fs::remove_file(&path).expect("removed");
    events_until(&service, |event| matches!(event, Event::ModelChanged { gone: true, .. }));
}

/// An image classifier that ONNX Runtime takes seconds to load: so many nodes in a chain.
fn chain(num_nodes: usize) -> Vec<u8> {
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        let mut len = bytes.len();
        while len >= 0x80 {
            out.push(len as u8 | 0x80);
            len >>= 7;
        }
        out.push(len as u8);
        [&out[..], bytes].concat()
    }
    let node = |op: &str, input: &str, output: &str| {
        field(1, &[field(1, input.as_bytes()), field(2, output.as_bytes()), field(4, op.as_bytes())].concat())
    };
    let value = |number, name: &str, dims: &[u8]| {
        let shape: Vec<u8> = dims.iter().flat_map(|&dim| field(1, &[0x08, dim])).collect();
        let tensor = [vec![0x08, 1], field(2, &shape)].concat();
        field(number, &[field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat())
    };
    let mut graph = node("Flatten", "image", "t0");
    for index in 0..num_nodes {
        graph.extend(node("Neg", &format!("t{index}"), &format!("t{}", index + 1)));
    }
    graph.extend(field(2, b"chain"));
    graph.extend(value(11, "image", &[1, 3, 2, 2]));
    graph.extend(value(12, &format!("t{num_nodes}"), &[1, 12]));
    [vec![0x08, 8], field(7, &graph), field(8, &[0x10, 17])].concat()
}

#[test]
fn another_wish_ends_a_load() {
    let (folder, small) = small_model();
    let slow = folder.path().join("slow.onnx");
    fs::write(&slow, chain(60_000)).expect("written");
    let isolation = Isolation::Process { program: env!("CARGO_BIN_EXE_moescope").into() };
    let engine = Engine::start(EngineOptions { isolation, ..EngineOptions::default() });
    let service = AnalysisService::start(Arc::new(engine), || {}).expect("a thread");
    service.want(Wanted { model: Some(wish_for(&slow, 0)), ..wish(0, 2) });
    let started = Instant::now();
    events_until(&service, |event| matches!(event, Event::ModelOpening(path) if *path == slow));
    std::thread::sleep(Duration::from_millis(200));
    service.want(Wanted { model: Some(wish_for(&small, 0)), ..wish(0, 2) });
    let events = events_until(&service, is_idle);
    let opened = events.iter().filter_map(|event| match event {
        Event::ModelOpened(model) => Some(&model.path),
        _ => None,
    });
    assert_eq!(opened.collect::<Vec<_>>(), [&small], "after {:?}", started.elapsed());
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

fn comparison_with(engine: &Engine, other: Execution, images: usize) -> Comparison {
    let images = (0..images).map(|at| (ImageId(at as u64), ImageSpec::Sample(SAMPLES[at % SAMPLES.len()].id)));
    let wish = ComparisonWish { number: 1, model: model(), other, top_k: Some(2), images: images.collect() };
    Comparison::start(engine, wish, || {}).expect("a thread")
}

fn comparison_events(comparison: &Comparison, last: impl Fn(&ComparisonEvent) -> bool) -> Vec<ComparisonEvent> {
    let start = Instant::now();
    let mut events = Vec::new();
    while !events.last().is_some_and(&last) {
        assert!(start.elapsed() < Duration::from_secs(120), "still waiting after {events:?}");
        match comparison.poll() {
            Some(event) => events.push(event),
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    events
}

#[test]
fn a_comparison_tells_of_every_image_and_of_those_that_cannot_be_read() {
    let engine = Engine::start(EngineOptions::default());
    let other = Execution { threads: Some(1), ..Execution::on(Provider::Cpu) };
    let wish = ComparisonWish {
        number: 1,
        model: model(),
        other,
        top_k: Some(2),
        images: vec![
            (ImageId(0), ImageSpec::Sample(SAMPLES[0].id)),
            (ImageId(1), ImageSpec::File("no-such-image.png".into())),
            (ImageId(2), ImageSpec::Sample(SAMPLES[1].id)),
        ],
    };
    let comparison = Comparison::start(&engine, wish, || {}).expect("a thread");
    let events = comparison_events(&comparison, |event| matches!(event, ComparisonEvent::Done));
    let [
        ComparisonEvent::Ready,
        ComparisonEvent::Compared(ImageId(0), first),
        ComparisonEvent::ImageFailed(ImageId(1), message),
        ComparisonEvent::Compared(ImageId(2), second),
        ComparisonEvent::Done,
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert!(message.contains("no-such-image.png"), "{message}");
    for parity in [first, second] {
        assert!(parity.same_best_class && parity.max_logit_difference < 1e-3, "{}", parity.max_logit_difference);
        assert!(parity.largest_flipped_margin().is_none_or(|margin| margin < 1e-3));
    }
}

#[test]
fn a_comparison_that_is_dropped_stops_and_leaves_the_window_alone() {
    let engine = Arc::new(Engine::start(EngineOptions::default()));
    let service = AnalysisService::start(Arc::clone(&engine), || {}).expect("a thread");
    let comparison = comparison_with(&engine, Execution::on(Provider::Cpu), 2000);
    comparison_events(&comparison, |event| matches!(event, ComparisonEvent::Compared(..)));
    service.want(wish(0, 2));
    drop(comparison);
    let events = events_until(&service, is_idle);
    assert_eq!(outcomes(&events).len(), 1, "its cancel is not the window's: {events:?}");
}
