//! How the layers of a model belong together. Routers of several tasks, or of several iterations, work on the same experts:
//! they are one layer for a person, and a list that merely numbers routers would hide it.

use crate::analysis::{Analysis, OpenModel};
use crate::routing::{LayerIdx, compare};
use std::collections::HashMap;

/// The layers of a result in running order, each with its place among those that share its experts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outline {
    tasks: Vec<String>,
    rows: Vec<OutlineRow>,
    /// What the names of each layer's routers begin with.
    names: Vec<String>,
}

/// One router.
#[derive(Clone, Debug, PartialEq)]
pub struct OutlineRow {
    /// The number of its layer, from 1: the same for all tasks and iterations.
    pub number: usize,
    /// Which of [`Outline::tasks`] it decides for; `None` where it decides for all.
    pub task: Option<usize>,
    /// Which iteration of its layer it is, where there are several.
    pub iteration: Option<Iteration>,
    /// The other tasks' routers of this layer and iteration, with the share of tokens whose experts differ from theirs:
    /// their sets, of as many ranks as both tasks have.
    pub unlike: Vec<(usize, f64)>,
}

/// One of several iterations over the same experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Iteration {
    /// From 0.
    pub at: usize,
    /// How many there are.
    pub of: usize,
}

/// What is known of a router before it has a place.
#[derive(Clone, Copy, Debug)]
struct Member<'a> {
    name: &'a str,
    task: Option<&'a str>,
    iteration: Option<usize>,
}

impl Outline {
    /// The outline of a result of `model`.
    #[must_use]
    pub fn of(analysis: &Analysis, model: &OpenModel) -> Self {
        let mut times: HashMap<usize, usize> = HashMap::new();
        let members = analysis.trace.layers.iter().zip(&analysis.places).map(|(routing, place)| {
            let card = model.layers.get(place.source).map(|layer| &layer.card);
            // A router in a loop gives a layer for each iteration.
            let again = times.entry(place.source).and_modify(|times| *times += 1).or_insert(0);
            Member {
                name: routing.name(),
                task: card.and_then(|card| card.task.as_deref()),
                iteration: card.and_then(|card| card.iteration).or(Some(*again)),
            }
        });
        let mut outline = Self::of_members(&members.collect::<Vec<_>>());
        for layer in (0..outline.rows.len()).map(LayerIdx) {
            let of_task = |task: usize| {
                let other = outline.counterpart(layer, task).filter(|&other| other != layer)?;
                let compared = compare(analysis.trace.layers.get(layer.0)?, analysis.trace.layers.get(other.0)?)?;
                Some((task, compared.common_ranks_changed_share))
            };
            outline.rows[layer.0].unlike = (0..outline.tasks.len()).filter_map(of_task).collect();
        }
        outline
    }

    fn of_members(members: &[Member<'_>]) -> Self {
        let mut tasks: Vec<&str> = Vec::new();
        for task in members.iter().filter_map(|member| member.task) {
            if !tasks.contains(&task) {
                tasks.push(task);
            }
        }
        // A single task is nothing to choose from.
        let task_of = |member: &Member<'_>| {
            let task = tasks.iter().position(|&task| Some(task) == member.task);
            task.filter(|_| tasks.len() > 1)
        };
        let mut groups: Vec<Group> = Vec::new();
        let mut places = Vec::new();
        for member in members {
            let (task, stem) = (task_of(member), stem(member));
            let group = group_of(&groups, &stem, task, member.iteration.unwrap_or(0)).unwrap_or_else(|| {
                groups.push(Group { name: stem.clone(), stem: stem.clone(), tasks: Vec::new() });
                groups.len() - 1
            });
            places.push((group, task, groups[group].count(task)));
            groups[group].add(&stem, task);
        }
        let row = |&(group, task, at): &(usize, Option<usize>, usize)| {
            let of = groups[group].count(task);
            let iteration = (of > 1).then_some(Iteration { at, of });
            OutlineRow { number: group + 1, task, iteration, unlike: Vec::new() }
        };
        let rows = places.iter().map(row).collect();
        let tasks = if tasks.len() > 1 { tasks.into_iter().map(str::to_owned).collect() } else { Vec::new() };
        Self { tasks, rows, names: groups.into_iter().map(|group| group.name).collect() }
    }

    /// The tasks that have routers of their own; none where there are not several.
    #[must_use]
    pub fn tasks(&self) -> &[String] {
        &self.tasks
    }

    /// The place of a layer.
    #[must_use]
    pub fn row(&self, layer: LayerIdx) -> Option<&OutlineRow> {
        self.rows.get(layer.0)
    }

    /// How many layers there are for a person; as many as routers where none share their experts.
    #[must_use]
    pub fn num_layers(&self) -> usize {
        self.names.len()
    }

    /// The number of a layer, from 1.
    #[must_use]
    pub fn number(&self, layer: LayerIdx) -> usize {
        self.row(layer).map_or(layer.0 + 1, |row| row.number)
    }

    /// A name for all routers of a layer: what their own names have in common.
    #[must_use]
    pub fn name_of(&self, row: &OutlineRow) -> &str {
        self.names.get(row.number - 1).map_or("", String::as_str)
    }

    /// The layers that a task runs through, in running order; all of them where there are no tasks.
    pub fn layers_of(&self, task: usize) -> impl Iterator<Item = LayerIdx> {
        let runs = move |(_, row): &(usize, &OutlineRow)| row.task.is_none_or(|of| of == task);
        self.rows.iter().enumerate().filter(runs).map(|(layer, _)| LayerIdx(layer))
    }

    /// The layer so many places further among those of a task; the first or last one beyond the ends.
    #[must_use]
    pub fn step(&self, layer: LayerIdx, places: isize, task: usize) -> LayerIdx {
        let layers: Vec<LayerIdx> = self.layers_of(task).collect();
        let at = layers.iter().position(|&of_task| of_task == layer).unwrap_or(0);
        let to = at.saturating_add_signed(places).min(layers.len().saturating_sub(1));
        layers.get(to).copied().unwrap_or(layer)
    }

    /// The router of another task in the place of a layer.
    #[must_use]
    pub fn counterpart(&self, layer: LayerIdx, task: usize) -> Option<LayerIdx> {
        let row = self.row(layer)?;
        let alike = |other: &OutlineRow| {
            let at = |row: &OutlineRow| row.iteration.map(|iteration| iteration.at);
            other.number == row.number && at(other) == at(row) && other.task.is_none_or(|of| of == task)
        };
        self.rows.iter().position(alike).map(LayerIdx)
    }

    /// A layer's name for a sentence: `layer 2 · iteration 1 of 2 · depth`.
    #[must_use]
    pub fn title(&self, layer: LayerIdx) -> String {
        let Some(row) = self.row(layer) else { return format!("layer {}", layer.0 + 1) };
        let iteration = row.iteration.map(|Iteration { at, of }| format!(" · iteration {} of {of}", at + 1));
        let task = row.task.and_then(|task| self.tasks.get(task)).map(|task| format!(" · {task}"));
        format!("layer {}{}{}", row.number, iteration.unwrap_or_default(), task.unwrap_or_default())
    }
}

/// A layer while its routers come in.
struct Group {
    /// The name of its first router, without its task.
    stem: String,
    /// What the names of all have in common.
    name: String,
    /// One entry for each router.
    tasks: Vec<Option<usize>>,
}

impl Group {
    fn add(&mut self, stem: &str, task: Option<usize>) {
        self.tasks.push(task);
        let common = common_start(&self.name, stem);
        if common < self.name.len() {
            let end = self.name[..common].rfind(['.', '/', ',']).unwrap_or(common);
            self.name.truncate(end);
        }
    }

    fn count(&self, task: Option<usize>) -> usize {
        self.tasks.iter().filter(|&&of| of == task).count()
    }
}

/// The layer that a router belongs to, unless it begins one. Where several wait for this iteration, the one whose name is
/// most alike; of those the latest.
fn group_of(groups: &[Group], stem: &str, task: Option<usize>, iteration: usize) -> Option<usize> {
    let waits = |group: &&Group| match iteration {
        0 => task.is_some() && group.stem == stem && group.count(task) == 0,
        iteration => group.count(task) == iteration,
    };
    let waiting = groups.iter().enumerate().filter(|(_, group)| waits(group));
    waiting.max_by_key(|(_, group)| common_start(&group.stem, stem)).map(|(at, _)| at)
}

fn common_start(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}

/// The name without its task.
fn stem(member: &Member<'_>) -> String {
    let parts = member.name.split('.').filter(|part| Some(*part) != member.task);
    parts.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    type Given = (&'static str, Option<&'static str>, Option<usize>);

    fn outline(members: &[Given]) -> Outline {
        let member = |&(name, task, iteration): &Given| Member { name, task, iteration };
        Outline::of_members(&members.iter().map(member).collect::<Vec<_>>())
    }

    #[test]
    fn routers_over_the_same_experts_are_one_layer() {
        let cases: [(&[Given], &[&str]); 6] = [
            (&[("a.0", None, None), ("a.1", None, None)], &["layer 1", "layer 2"]),
            (
                &[
                    ("0.routers.0", None, Some(0)),
                    ("0.routers.1", None, Some(1)),
                    ("1.routers.0", None, Some(0)),
                    ("1.routers.1", None, Some(1)),
                ],
                &[
                    "layer 1 · iteration 1 of 2",
                    "layer 1 · iteration 2 of 2",
                    "layer 2 · iteration 1 of 2",
                    "layer 2 · iteration 2 of 2",
                ],
            ),
            // Shared blocks run one after the other, and then again.
            (
                &[
                    ("attention.gate", None, Some(0)),
                    ("mlp.gate", None, Some(0)),
                    ("attention.gate (2)", None, Some(1)),
                    ("mlp.gate (2)", None, Some(1)),
                ],
                &[
                    "layer 1 · iteration 1 of 2",
                    "layer 2 · iteration 1 of 2",
                    "layer 1 · iteration 2 of 2",
                    "layer 2 · iteration 2 of 2",
                ],
            ),
            (
                &[
                    ("0.class.gate", Some("class"), None),
                    ("1.class.gate", Some("class"), None),
                    ("0.depth.gate", Some("depth"), None),
                    ("1.depth.gate", Some("depth"), None),
                ],
                &["layer 1 · class", "layer 2 · class", "layer 1 · depth", "layer 2 · depth"],
            ),
            // One layer for all tasks, one that a task has alone, and a single task, which is none.
            (
                &[("0.gate", None, None), ("1.class", Some("class"), None), ("2.depth", Some("depth"), None)],
                &["layer 1", "layer 2 · class", "layer 3 · depth"],
            ),
            (&[("0.class", Some("class"), None)], &["layer 1"]),
        ];
        for (members, expected) in cases {
            let outline = outline(members);
            let titles: Vec<String> = (0..members.len()).map(|layer| outline.title(LayerIdx(layer))).collect();
            assert_eq!(titles, expected);
        }
    }

    #[test]
    fn a_layer_is_named_by_what_its_routers_have_in_common() {
        let cases: [(&[Given], &str); 4] = [
            (&[("0.routers.0.gate", None, Some(0)), ("0.routers.1.gate", None, Some(1))], "0.routers"),
            (&[("0.gate, iteration 1", None, Some(0)), ("0.gate, iteration 2", None, Some(1))], "0.gate"),
            (&[("0.gate", None, Some(0)), ("0.gate (2)", None, Some(1))], "0.gate"),
            (&[("0.class.gate", Some("class"), None), ("0.depth.gate", Some("depth"), None)], "0.gate"),
        ];
        for (members, name) in cases {
            let outline = outline(members);
            assert_eq!(outline.name_of(outline.row(LayerIdx(1)).unwrap()), name);
        }
    }

    /// A layer for both tasks, then one with a router for each.
    fn two_tasks() -> Outline {
        outline(&[
            ("0.gate", None, None),
            ("1.class", Some("class"), None),
            ("2.class", Some("class"), None),
            ("1.depth", Some("depth"), None),
        ])
    }

    #[test]
    fn a_task_has_its_own_layers_and_those_of_all() {
        let outline = two_tasks();
        assert_eq!((outline.num_layers(), outline.number(LayerIdx(3))), (3, 2));
        assert_eq!(outline.tasks(), ["class", "depth"]);
        let layers = |task| outline.layers_of(task).map(|layer| layer.0).collect::<Vec<_>>();
        assert_eq!((layers(0), layers(1)), (vec![0, 1, 2], vec![0, 3]));
        let step = |from, places, task| outline.step(LayerIdx(from), places, task).0;
        assert_eq!([step(0, 1, 1), step(3, 1, 1), step(3, -1, 1), step(2, -9, 0)], [3, 3, 0, 0]);
    }

    #[test]
    fn the_same_layer_of_another_task_is_found() {
        let outline = two_tasks();
        let counterpart = |layer, task| outline.counterpart(LayerIdx(layer), task).map(|layer| layer.0);
        let found = [counterpart(1, 1), counterpart(3, 0), counterpart(0, 1), counterpart(2, 1), counterpart(9, 0)];
        assert_eq!(found, [Some(3), Some(1), Some(0), None, None]);
    }
}
