//! As much of Rust's grammar as it takes to see names: comments and literals must not count, and `use` groups must.

/// What can be part of a path; everything else between is one [`Token::Other`] a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// A name or keyword.
    Ident(&'a str),
    /// `::`
    PathSeparator,
    /// Any other character that is no space.
    Other(char),
}

/// The tokens of a Rust file, without comments, strings and characters.
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let ident = rest.len() - rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_').len();
        let skipped = comment(rest).or_else(|| literal(rest));
        let length = if let Some(length) = skipped {
            length
        } else if ident > 0 {
            found.push(Token::Ident(&rest[..ident]));
            ident
        } else if rest.starts_with("::") {
            found.push(Token::PathSeparator);
            2
        } else {
            if !first.is_whitespace() {
                found.push(Token::Other(first));
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    found
}

/// The modules that follow `crate::`, alone or in a group.
pub fn crate_modules<'a>(tokens: &[Token<'a>]) -> Vec<&'a str> {
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let [Token::Ident("crate"), Token::PathSeparator, rest @ ..] = &tokens[at..] else { continue };
        match rest {
            [Token::Ident(module), ..] => found.push(*module),
            [Token::Other('{'), group @ ..] => found.extend(first_names(group)),
            _ => {}
        }
    }
    found
}

/// The first name of each path of a group, whose opening brace is already read.
fn first_names<'a>(group: &[Token<'a>]) -> Vec<&'a str> {
    let (mut found, mut depth, mut at_start) = (Vec::new(), 1, true);
    for token in group {
        match token {
            Token::Other('{') => depth += 1,
            Token::Other('}') => depth -= 1,
            Token::Ident(name) if depth == 1 && at_start => found.push(*name),
            _ => {}
        }
        if depth == 0 {
            break;
        }
        at_start = depth == 1 && *token == Token::Other(',');
    }
    found
}

/// Length in bytes of the comment at the start, if there is one.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let here = &text.as_bytes()[at..];
        match here {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
    Some(text.len())
}

/// Length in bytes of the string or character literal at the start, if there is one.
fn literal(text: &str) -> Option<usize> {
    let body = text.strip_prefix('b').unwrap_or(text);
    let prefix = text.len() - body.len();
    if let Some(raw) = body.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = prefix + 1 + hashes + 1;
            return Some(text[start..].find(&end).map_or(text.len(), |at| start + at + end.len()));
        }
    }
    if body.starts_with('"') {
        return Some(prefix + quoted(body, '"'));
    }
    let mut inside = body.strip_prefix('\'')?.chars();
    // A quote with neither a backslash nor a closing quote after one character begins a lifetime.
    let is_character = inside.next()? == '\\' || inside.next() == Some('\'');
    is_character.then(|| prefix + quoted(body, '\''))
}

/// Length of a literal from its opening quote to its closing one.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

#[test]
fn names_are_seen_and_text_is_not() {
    let cases: &[(&str, &[&str])] = &[
        ("use ort::session;", &["use", "ort", "session"]),
        ("let port = reporting();", &["let", "port", "reporting"]),
        ("// ort\nx", &["x"]),
        ("/* a /* nested */ ort */ x", &["x"]),
        (r#"f("ort \" ort") + x"#, &["f", "x"]),
        (r###"f(r#"ort " ort"#, br"ort", b"ort") + x"###, &["f", "x"]),
        (r"match c { '\'' => ort, '/' => x }", &["match", "c", "ort", "x"]),
        ("fn f<'a>(x: &'a str) {}", &["fn", "f", "a", "x", "a", "str"]),
        ("'x' // \"\nort", &["ort"]),
        ("use r#type;", &["use", "r", "type"]),
    ];
    for (code, expected) in cases {
        let names: Vec<&str> = tokens(code)
            .into_iter()
            .filter_map(|t| if let Token::Ident(name) = t { Some(name) } else { None })
            .collect();
        assert_eq!(names, *expected, "{code}");
    }
}

#[test]
fn modules_are_seen_alone_and_in_groups() {
    let cases: &[(&str, &[&str])] = &[
        ("use crate::routing::TopK;", &["routing"]),
        ("use crate::{ui, engine::{Engine, cli}, model as m};", &["ui", "engine", "model"]),
        ("fn f(x: crate::ui::Options) {} use crate :: cli;", &["ui", "cli"]),
        ("pub(crate) fn f() {} // crate::ui", &[]),
        ("use super::ui; use moescope::ui;", &[]),
    ];
    for (code, expected) in cases {
        assert_eq!(crate_modules(&tokens(code)), *expected, "{code}");
    }
}
