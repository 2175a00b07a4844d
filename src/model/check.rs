//! Checks a card against itself and against the graph, so that everything after can rely on it.

use super::{
    CropRule, InputCard, LayerCard, Layout, ModelCard, ModelDescription, ResizeRule, TopKCard, ValueDescription,
};

/// Sides of the model's input beyond this are a mistake.
const MAX_SIDE: u32 = 16_384;

/// Patches beyond this are a mistake.
const MAX_PATCHES: usize = 1 << 20;

/// `Ok` or what is wrong.
type Check = Result<(), String>;

impl ModelCard {
    /// Checks the card against itself and against the graph of `model`.
    ///
    /// # Errors
    /// What is wrong, naming the field of the card.
    pub fn check(&self, model: &ModelDescription) -> Result<(), String> {
        ensure(!self.name.trim().is_empty(), || "name is empty".into())?;
        check_input(&self.input, model)?;
        let logits = output(model, &self.logits, "logits", "float")?;
        if let (false, Some(classes)) = (self.labels.is_empty(), last_size(logits)) {
            ensure(self.labels.len() == classes, || {
                format!("labels has {} names, but the model has {classes} classes", self.labels.len())
            })?;
        }
        let patches = self.grid.rows.checked_mul(self.grid.cols);
        ensure(patches.is_some_and(|patches| (1..=MAX_PATCHES).contains(&patches)), || {
            format!(
                "grid has {} rows and {} columns; 1 to {MAX_PATCHES} patches are possible",
                self.grid.rows, self.grid.cols
            )
        })?;
        self.layers.iter().enumerate().try_for_each(|(index, layer)| {
            check_layer(layer, model).map_err(|reason| format!("layers[{index}]: {reason}"))
        })?;
        self.top_k.as_ref().map_or(Ok(()), |top_k| self.check_top_k(top_k, model))
    }

    fn check_top_k(&self, top_k: &TopKCard, model: &ModelDescription) -> Check {
        let input = model.inputs.iter().find(|input| input.name == top_k.input);
        let input = input.ok_or_else(|| no_such("top_k.input", &top_k.input, "input", &model.inputs))?;
        ensure(input.element == "int64", || format!("top_k.input {} is {input}, not int64", top_k.input))?;
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
    ensure(input.element == "float32", || format!("input.name {} is {input}, not float32", card.name))?;
    let (height, width) = (card.height, card.width);
    ensure((1..=MAX_SIDE).contains(&height) && (1..=MAX_SIDE).contains(&width), || {
        format!("input.height and input.width are {height} and {width}; 1 to {MAX_SIDE} is possible")
    })?;
    let wanted = match card.layout {
        Layout::Nchw => [3, height, width],
        Layout::Nhwc => [height, width, 3],
    };
    if let Some(dims) = &input.dims {
        let fits = dims.len() == 4
            && dims[1..].iter().zip(wanted).all(|(dim, size)| dim.size().is_none_or(|fixed| fixed == size as usize));
        ensure(fits, || format!("input.name {} is {input}, but the card says [batch, {wanted:?}]", card.name))?;
    }
    check_preprocessing(card)
}

fn check_preprocessing(card: &InputCard) -> Check {
    ensure(card.mean.iter().all(|mean| mean.is_finite()), || "input.mean is not finite".into())?;
    ensure(card.std.iter().all(|std| std.is_finite() && *std > 0.0), || {
        format!("input.std is {:?}, but each must be greater than 0", card.std)
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

fn check_layer(layer: &LayerCard, model: &ModelDescription) -> Check {
    let experts = layer.num_experts;
    ensure((1..=u32::MAX as usize).contains(&experts), || format!("num_experts is {experts}"))?;
    let gate_probs = output(model, &layer.gate_probs, "gate_probs", "float")?;
    if let Some(size) = last_size(gate_probs) {
        ensure(size == experts, || {
            format!("num_experts is {experts}, but output {} has {size} columns", layer.gate_probs)
        })?;
    }
    output(model, &layer.expert_ids, "expert_ids", "int")?;
    output(model, &layer.combine_weights, "combine_weights", "float")?;
    Ok(())
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

fn last_size(value: &ValueDescription) -> Option<usize> {
    value.dims.as_ref()?.last()?.size()
}

fn ensure(condition: bool, problem: impl FnOnce() -> String) -> Check {
    if condition { Ok(()) } else { Err(problem()) }
}
