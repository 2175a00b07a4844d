//! The operators that ONNX Runtime knows, to name the ones that it does not: ONNX Runtime itself stops at the first.

use std::collections::HashMap;
use std::sync::LazyLock;

/// `operators.txt` by domain and operator; ONNX's own domain is `ai.onnx`.
static KNOWN: LazyLock<HashMap<(&str, &str), i64>> = LazyLock::new(|| {
    let words =
        include_str!("operators.txt").lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace);
    let (mut known, mut domain, mut operator) = (HashMap::new(), "", "");
    for word in words {
        if let Some(name) = word.strip_suffix(':') {
            domain = name;
        } else if let Ok(version) = word.parse() {
            known.insert((domain, operator), version);
        } else {
            operator = word;
        }
    }
    known
});

/// The first version of the domain's operator set that has the operator; `None` for one that ONNX Runtime does not know.
pub(super) fn first_version(domain: &str, operator: &str) -> Option<i64> {
    KNOWN.get(&(domain, operator)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_whole() {
        assert_eq!(KNOWN.len(), 218 + 19 + 136 + 8 + 19);
        for (domain, operator, version) in [
            ("ai.onnx", "Add", Some(1)),
            ("ai.onnx", "Gelu", Some(20)),
            ("com.microsoft", "Gelu", Some(1)),
            ("com.microsoft", "MoE", Some(1)),
            ("ai.onnx.ml", "TreeEnsemble", Some(5)),
            ("ai.onnx", "Frobnicate", None),
            ("", "Add", None),
        ] {
            assert_eq!(first_version(domain, operator), version, "{domain} {operator}");
        }
    }
}
