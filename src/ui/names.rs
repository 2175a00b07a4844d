//! Names of layers, short enough for a list: routers of a graph are named by their modules, which are long and mostly
//! alike.

/// Each name without what all have in common at both ends, in whole modules; a number keeps the module before it. Names
/// that would become empty stay as they are.
#[must_use]
pub fn short_names<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let Some((&first, rest)) = names.split_first() else { return Vec::new() };
    if rest.is_empty() {
        return names.to_vec();
    }
    let front = rest.iter().fold(first.len(), |len, name| common_front(&first[..len], name));
    let front = module_start(first, front);
    let back = rest.iter().fold(first.len(), |len, name| common_back(&first[first.len() - len..], name));
    let shorten = |name: &&'a str| {
        let end = module_end(name, name.len().saturating_sub(back));
        let short = name.get(front..end.max(front)).unwrap_or(name).trim_matches(is_separator);
        if short.is_empty() { *name } else { short }
    };
    names.iter().map(shorten).collect()
}

fn is_separator(c: char) -> bool {
    matches!(c, '.' | '/')
}

fn common_front(a: &str, b: &str) -> usize {
    a.char_indices().zip(b.chars()).find(|((_, a), b)| a != b).map_or(a.len().min(b.len()), |((at, _), _)| at)
}

fn common_back(a: &str, b: &str) -> usize {
    let same = a.chars().rev().zip(b.chars().rev()).take_while(|(a, b)| a == b);
    same.map(|(c, _)| c.len_utf8()).sum()
}

/// The start of the module at `at`; of the one before it where it is a number.
fn module_start(name: &str, at: usize) -> usize {
    let start = |before: &str| before.rfind(is_separator).map_or(0, |separator| separator + 1);
    let own = start(&name[..at]);
    let is_number = name[own..].starts_with(|c: char| c.is_ascii_digit());
    if is_number && own > 0 { start(&name[..own - 1]) } else { own }
}

/// The end of the module at `at`.
fn module_end(name: &str, at: usize) -> usize {
    let at = (at..=name.len()).find(|&at| name.is_char_boundary(at)).unwrap_or(name.len());
    name[at..].find(is_separator).map_or(name.len(), |separator| at + separator)
}

/// A sentence's first letter as a capital.
#[must_use]
pub fn first_upper(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::short_names;

    #[test]
    fn what_all_names_share_is_left_out() {
        let cases: [(&[&str], &[&str]); 7] = [
            (&["blocks.1.mlp.router.gate", "blocks.3.mlp.router.gate"], &["blocks.1", "blocks.3"]),
            (&["blocks.1.gate", "blocks.11.gate"], &["blocks.1", "blocks.11"]),
            (
                &["backbone.blocks.0.attention.gate", "backbone.blocks.0.mlp.gate", "backbone.blocks.1.mlp.gate"],
                &["blocks.0.attention", "blocks.0.mlp", "blocks.1.mlp"],
            ),
            (&["/model/0/router", "/model/1/router"], &["model/0", "model/1"]),
            (&["router 0", "router 0 (2)"], &["router 0", "router 0 (2)"]),
            (&["MoE layer 1"], &["MoE layer 1"]),
            (&["a", "a"], &["a", "a"]),
        ];
        for (names, short) in cases {
            assert_eq!(short_names(names), short, "{names:?}");
        }
    }
}
