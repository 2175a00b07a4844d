//! Checks a card against itself and against the graph, so that everything after can rely on it.

use super::routers::GatingRule;
use super::{
    CropRule, DetectionCard, DetectionStyle, Dim, Fill, FixedInputCard, GridCard, InputCard, InputElement, LayerCard,
    Layout, ModelCard, ModelDescription, ResizeRule, TensorPath, TokenOrder, TopKCard, ValueDescription,
};

/// Sides of the model's input beyond this are a mistake.
const MAX_SIDE: u32 = 16_384;

/// Patches beyond this are a mistake.
const MAX_PATCHES: usize = 1 << 20;

/// Images at once beyond this are a mistake.
const MAX_BATCH: usize = 1024;

/// Values of a further input beyond this are a mistake.
const MAX_FIXED_VALUES: usize = 1 << 24;

/// Characters of a name or a description beyond this are a mistake, and more than a window can lay out in time.
const MAX_TEXT: usize = 4096;

/// Layers beyond this are a mistake.
const MAX_LAYERS: usize = 4096;

/// `Ok` or what is wrong.
type Check = Result<(), String>;

impl ModelCard {
    /// Checks the card against itself and against the graph of `model`.
    ///
    /// # Errors
    /// What is wrong, naming the field of the card.
    pub fn check(&self, model: &ModelDescription) -> Result<(), String> {
        ensure(!self.name.trim().is_empty(), || "name is empty".into())?;
        self.check_texts()?;
        check_input(&self.input, model)?;
        self.check_fixed_inputs(model)?;
        self.check_logits(model)?;
        if let Some(detection) = &self.detection {
            check_detection(detection, model)?;
        }
        check_grid(&self.grid).map_err(|reason| format!("grid {reason}"))?;
        self.layers.iter().enumerate().try_for_each(|(index, layer)| {
            check_layer(layer, model).map_err(|reason| format!("layers[{index}]: {reason}"))
        })?;
        self.top_k.as_ref().map_or(Ok(()), |top_k| self.check_top_k(top_k, model))
    }

    /// What people read is not longer than can be read, and not more.
    fn check_texts(&self) -> Check {
        let count = self.layers.len();
        ensure(count <= MAX_LAYERS, || format!("layers are {count}; at most {MAX_LAYERS} are possible"))?;
        let own = [("name", &self.name), ("description", &self.description), ("license", &self.license)];
        let gating = [("gating.rule", &self.gating.rule), ("gating.description", &self.gating.description)];
        let layers = self.layers.iter().map(|layer| ("a layer's name", &layer.name));
        let labels = self.labels.iter().map(|label| ("a label", label));
        let mut texts = own.into_iter().chain(gating).chain(layers).chain(labels);
        match texts.find(|(_, text)| text.len() > MAX_TEXT) {
            Some((field, text)) => Err(format!("{field} has {} bytes; at most {MAX_TEXT} are possible", text.len())),
            None => Ok(()),
        }
    }

    fn check_logits(&self, model: &ModelDescription) -> Check {
        if self.logits.is_empty() {
            return ensure(!self.layers.is_empty() || self.detection.is_some(), || {
                "logits is empty, and there are no layers and no detection: nothing would be shown".into()
            });
        }
        let logits = output(model, &self.logits, "logits", "float")?;
        match (self.labels.is_empty(), num_classes(logits)) {
            (false, Some(classes)) => ensure(self.labels.len() == classes, || {
                format!("labels has {} names, but the model has {classes} classes", self.labels.len())
            }),
            _ => Ok(()),
        }
    }

    /// Every input that the graph needs is fed by one part of the card, and by one only.
    fn check_fixed_inputs(&self, model: &ModelDescription) -> Check {
        let top_k = self.top_k.as_ref().and_then(|top_k| top_k.input.name());
        for (index, fixed) in self.inputs.iter().enumerate() {
            let other = self.inputs[..index].iter().map(|other| other.name.as_str());
            let fed_twice = other.chain([self.input.name.as_str()]).chain(top_k).any(|name| name == fixed.name);
            ensure(!fed_twice, || format!("inputs[{index}] feeds {} once more", fixed.name))?;
            check_fixed_input(fixed, model).map_err(|reason| format!("inputs[{index}]: {reason}"))?;
        }
        let is_fed = |input: &&ValueDescription| {
            input.has_default
                || input.name == self.input.name
                || top_k == Some(&input.name)
                || self.inputs.iter().any(|fixed| fixed.name == input.name)
        };
        match model.inputs.iter().find(|input| !is_fed(input)) {
            Some(input) => Err(format!("inputs says nothing of {}, which the model needs ({input})", input.name)),
            None => Ok(()),
        }
    }

    fn check_top_k(&self, top_k: &TopKCard, model: &ModelDescription) -> Check {
        let name = top_k.input.name().ok_or("top_k is of an edit in memory, not of the file")?;
        let input = model.inputs.iter().find(|input| input.name == name);
        let input = input.ok_or_else(|| no_such("top_k.input", name, "input", &model.inputs))?;
        ensure(input.element == "int64", || format!("top_k.input {name} is {input}, not int64"))?;
        let TopKCard { min, max, default, .. } = *top_k;
        ensure(1 <= min && min <= default && default <= max, || {
            format!("top_k has min {min}, default {default}, max {max}; 1 ≤ min ≤ default ≤ max is needed")
        })?;
        match self.layers.iter().min_by_key(|layer| layer.num_experts) {
            Some(layer) => ensure(max <= layer.num_experts, || {
                format!("top_k.max is {max}, but layer {} has {} experts", layer.name, layer.num_experts)
            }),
            None => Ok(()),
        }
    }
}

fn check_input(card: &InputCard, model: &ModelDescription) -> Check {
    let input = model.inputs.iter().find(|input| input.name == card.name);
    let input = input.ok_or_else(|| no_such("input.name", &card.name, "input", &model.inputs))?;
    let element = match card.element {
        InputElement::Float32 => "float32",
        InputElement::Float16 => "float16",
        InputElement::Uint8 => "uint8",
    };
    ensure(input.element == element, || format!("input.name {} is {input}, not {element}", card.name))?;
    let (height, width) = (card.height, card.width);
    ensure((1..=MAX_SIDE).contains(&height) && (1..=MAX_SIDE).contains(&width), || {
        format!("input.height and input.width are {height} and {width}; 1 to {MAX_SIDE} is possible")
    })?;
    let wanted = match card.layout {
        Layout::Nchw => [3, height, width],
        Layout::Nhwc => [height, width, 3],
    };
    ensure((1..=MAX_BATCH).contains(&card.batch), || {
        format!("input.batch is {}; 1 to {MAX_BATCH} is possible", card.batch)
    })?;
    if let Some(dims) = &input.dims {
        let fits = dims.len() == 4
            && dims[1..].iter().zip(wanted).all(|(dim, size)| dim.size().is_none_or(|fixed| fixed == size as usize));
        ensure(fits, || format!("input.name {} is {input}, but the card says [batch, {wanted:?}]", card.name))?;
        ensure(dims[0].size().is_none_or(|batch| batch == card.batch), || {
            format!("input.batch is {}, but input.name {} is {input}", card.batch, card.name)
        })?;
    }
    check_preprocessing(card)
}

fn check_preprocessing(card: &InputCard) -> Check {
    ensure(card.mean.iter().all(|mean| mean.is_finite()), || "input.mean is not finite".into())?;
    ensure(card.std.iter().all(|std| std.is_finite() && *std > 0.0), || {
        format!("input.std is {:?}, but each must be greater than 0", card.std)
    })?;
    // Bytes have no fractions, and nothing below 0.
    let is_bytes = card.mean == [0.0; 3] && card.std.iter().all(|std| (std * 255.0 - 1.0).abs() < 1e-4);
    ensure(card.element != InputElement::Uint8 || is_bytes, || {
        "input.element is uint8, which goes with a mean of 0 and a std of 1/255 (0.003921569)".into()
    })?;
    let size = card.resize.size;
    match (card.resize.rule, card.crop) {
        (ResizeRule::ShorterSide, CropRule::None) => {
            Err("input.crop is none, which only goes with input.resize.rule stretch or longer_side".into())
        }
        (ResizeRule::LongerSide, CropRule::Center) => {
            Err("input.crop is center, which cuts nothing with input.resize.rule longer_side: say none".into())
        }
        (ResizeRule::ShorterSide, CropRule::Center) => {
            let needed = card.height.max(card.width);
            ensure((needed..=MAX_SIDE).contains(&size), || {
                format!("input.resize.size is {size}; {needed} (the crop) to {MAX_SIDE} is possible")
            })
        }
        (ResizeRule::Stretch, _) | (ResizeRule::LongerSide, CropRule::None) => Ok(()),
    }
}

fn check_fixed_input(fixed: &FixedInputCard, model: &ModelDescription) -> Check {
    let input = model.inputs.iter().find(|input| input.name == fixed.name);
    let input = input.ok_or_else(|| no_such("name", &fixed.name, "input", &model.inputs))?;
    let is_number = ["float", "int", "uint", "bfloat16", "bool"].iter().any(|kind| input.element.starts_with(kind));
    ensure(is_number, || format!("{} is {input}, which takes no numbers", fixed.name))?;
    if let Some(dims) = &input.dims {
        let fits = dims.len() == fixed.shape.len()
            && dims.iter().zip(&fixed.shape).all(|(dim, size)| dim.size().is_none_or(|fixed| fixed == *size));
        ensure(fits, || format!("{} is {input}, but shape says {:?}", fixed.name, fixed.shape))?;
    }
    let count = fixed.shape.iter().try_fold(1_usize, |count, &size| count.checked_mul(size));
    let count = count.filter(|&count| count <= MAX_FIXED_VALUES);
    let count = count.ok_or_else(|| format!("shape {:?} has more than {MAX_FIXED_VALUES} values", fixed.shape))?;
    match &fixed.fill {
        Fill::Value(value) => ensure(value.is_finite(), || "fill is not finite".into()),
        Fill::Values(values) => {
            ensure(values.len() == count, || format!("fill has {} values, but shape {count}", values.len()))?;
            ensure(values.iter().all(|value| value.is_finite()), || "fill is not finite".into())
        }
    }
}

fn check_detection(card: &DetectionCard, model: &ModelDescription) -> Check {
    output(model, &card.boxes, "detection.boxes", "float")?;
    let has_scores = !card.scores.is_empty();
    if has_scores {
        output(model, &card.scores, "detection.scores", "float")?;
    }
    if !card.classes.is_empty() {
        let known = model.outputs.iter().any(|output| output.name == card.classes);
        ensure(known, || no_such("detection.classes", &card.classes, "output", &model.outputs))?;
    }
    let needs_scores = matches!(card.style, DetectionStyle::Lists | DetectionStyle::Detr);
    ensure(needs_scores == has_scores, || match needs_scores {
        true => "detection.scores is empty, but its style has the scores in an output of their own".into(),
        false => "detection.scores names an output, but its style has the scores beside the boxes".into(),
    })
}

fn check_grid(grid: &GridCard) -> Check {
    let &GridCard { rows, cols, prefix_tokens, suffix_tokens, ref order } = grid;
    let is_possible = |count: Option<usize>| count.is_some_and(|count| (1..=MAX_PATCHES).contains(&count));
    ensure(is_possible(rows.checked_mul(cols)), || {
        format!("has {rows} rows and {cols} columns; 1 to {MAX_PATCHES} patches are possible")
    })?;
    ensure(prefix_tokens <= MAX_PATCHES && suffix_tokens <= MAX_PATCHES, || {
        format!("has {prefix_tokens} and {suffix_tokens} other tokens; at most {MAX_PATCHES} are possible")
    })?;
    let (high, wide, shift_rows, shift_cols) = match order {
        TokenOrder::RowMajor => return Ok(()),
        TokenOrder::Listed(patches) => return check_listed(patches, rows * cols),
        &TokenOrder::Windows { rows, cols, shift_rows, shift_cols } => (rows, cols, shift_rows, shift_cols),
    };
    ensure(high >= 1 && wide >= 1 && rows % high == 0 && cols % wide == 0, || {
        format!("has windows of {high} × {wide} patches, which do not divide its {rows} × {cols}")
    })?;
    ensure(shift_rows < rows && shift_cols < cols, || {
        format!("is shifted by {shift_rows} rows and {shift_cols} columns, which is not less than its {rows} × {cols}")
    })
}

/// Every patch has one token; the others are padding.
fn check_listed(listed: &[Option<usize>], patches: usize) -> Check {
    ensure(listed.len() <= MAX_PATCHES, || {
        format!("lists {} tokens in their order; at most {MAX_PATCHES} are possible", listed.len())
    })?;
    let mut seen = vec![false; patches];
    for &patch in listed.iter().flatten() {
        let known = seen.get_mut(patch).map(|seen| std::mem::replace(seen, true));
        ensure(known == Some(false), || {
            format!("lists patch {patch} twice, or has no such patch: of its {patches} patches each has one token")
        })?;
    }
    let missing = seen.iter().position(|seen| !seen);
    ensure(missing.is_none(), || format!("lists no token of patch {}", missing.unwrap_or_default()))
}

fn check_layer(layer: &LayerCard, model: &ModelDescription) -> Check {
    let experts = layer.num_experts;
    ensure((1..=u32::MAX as usize).contains(&experts), || format!("num_experts is {experts}"))?;
    let gate_logits = layer.gate_logits.as_deref().unwrap_or("");
    for (name, field) in [(layer.gate_probs.as_str(), "gate_probs"), (gate_logits, "gate_logits")] {
        // Of an inner tensor the axes are not known here.
        let output = tensor(model, name, field, "float")?;
        if let Some(size) = output.and_then(|output| size_from_end(output, layer.expert_axis_from_end)) {
            ensure(size == experts, || format!("num_experts is {experts}, but output {name} has {size} columns"))?;
        }
    }
    tensor(model, &layer.expert_ids, "expert_ids", "int")?;
    tensor(model, &layer.combine_weights, "combine_weights", "float")?;
    if let Some(top_k) = layer.top_k {
        ensure((1..=experts).contains(&top_k), || format!("top_k is {top_k}; 1 to {experts} is possible"))?;
    }
    let has_scores = !layer.gate_probs.is_empty() || !gate_logits.is_empty() || !layer.combine_weights.is_empty();
    let is_found = layer.router.as_ref().is_some_and(|router| !router.is_empty());
    ensure(has_scores || is_found, || {
        "it names no tensor and no router: gate_probs, gate_logits, combine_weights or router is needed".into()
    })?;
    ensure(is_found || !layer.is_recomputed() || layer.rule.is_some(), || {
        "expert_ids or combine_weights is missing: rule must say how to compute them again".into()
    })?;
    let by_rule = layer.rule.filter(|rule| layer.chosen_by_hand && !LayerCard::RULES.contains(rule));
    ensure(by_rule.is_none(), || {
        let rule = by_rule.map_or("", GatingRule::name);
        format!("rule is {rule}, by which no choice can be worked out from one tensor")
    })?;
    layer.grid.as_ref().map_or(Ok(()), |grid| check_grid(grid).map_err(|reason| format!("grid {reason}")))
}

/// The graph's output that a field of a layer names, where it is one; an inner tensor is nothing more than there.
fn tensor<'a>(
    model: &'a ModelDescription,
    name: &str,
    field: &str,
    element: &str,
) -> Result<Option<&'a ValueDescription>, String> {
    // What is inside a body or a function is looked up when it is made an output.
    let is_inner = model.inner_tensors.contains(name) || !TensorPath::parse(name).place.is_empty();
    let is_output = model.outputs.iter().any(|output| output.name == name);
    match name.is_empty() || (is_inner && !is_output) {
        true => Ok(None),
        false => output(model, name, field, element).map(Some),
    }
}

/// The graph's output that a field of the card names, with an element type that begins with `element`.
fn output<'a>(
    model: &'a ModelDescription,
    name: &str,
    field: &str,
    element: &str,
) -> Result<&'a ValueDescription, String> {
    let found = model.outputs.iter().find(|output| output.name == name);
    let found = found.ok_or_else(|| no_such(field, name, "output", &model.outputs))?;
    // An exporter may leave the type of an output open; it shows when the model runs.
    let fits = found.element.trim_start_matches(['b', 'u']).starts_with(element) || found.element == "unknown";
    ensure(fits, || format!("{field} names {name}, which is {found}, not {element}"))?;
    Ok(found)
}

fn no_such(field: &str, name: &str, kind: &str, known: &[ValueDescription]) -> String {
    let names: Vec<&str> = known.iter().map(|value| value.name.as_str()).take(12).collect();
    format!("{field} is {name:?}, but the model has no such {kind} (it has {})", names.join(", "))
}

/// Scores of one image: the sizes of all axes but the first.
fn num_classes(logits: &ValueDescription) -> Option<usize> {
    let sizes = logits.dims.as_ref()?.get(1..)?.iter().map(Dim::size);
    sizes.collect::<Option<Vec<_>>>()?.into_iter().try_fold(1, usize::checked_mul)
}

fn size_from_end(value: &ValueDescription, axis: usize) -> Option<usize> {
    value.dims.as_ref()?.iter().rev().nth(axis)?.size()
}

fn ensure(condition: bool, problem: impl FnOnce() -> String) -> Check {
    if condition { Ok(()) } else { Err(problem()) }
}
