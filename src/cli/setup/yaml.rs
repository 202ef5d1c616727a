//! YAML of another tool, read with bounds: bytes, depth, nodes (also those that aliases multiply).
//!
//! The library's events are asked for one by one: its own loader recurses, and copies aliases without a limit. Words are
//! read as PyYAML's safe loader reads them (YAML 1.1: `yes` is true), since that is who read this file before.
//! Deliberately not here: what any key means (`takeover`).

use crate::base::error::{Error, Result};
use crate::base::text::one_line;
use std::collections::BTreeMap;
use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::scanner::TScalarStyle;

/// Longest text, bytes.
pub const BYTES_MAX: usize = 1 << 18;
/// Deepest nesting; autosentry's own keys are five deep.
const DEPTH_MAX: usize = 32;
/// Most values, those behind aliases counted each time.
const NODES_MAX: usize = 20_000;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// A word; `plain` = without quotes, so that it may be a number or a truth.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    /// In the order of the file; a key that comes twice has its last value.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// Nothing: `null`, `~`, or no word at all.
    pub fn is_null(&self) -> bool {
        match self {
            Node::Scalar { text, plain } => {
                *plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            Node::List(_) | Node::Map(_) => false,
        }
    }

    /// The word as it stands.
    pub fn text(&self) -> Option<&str> {
        match self {
            Node::Scalar { text, .. } if !self.is_null() => Some(text),
            Node::Scalar { .. } | Node::List(_) | Node::Map(_) => None,
        }
    }

    /// A truth, as YAML 1.1 spells it.
    pub fn truth(&self) -> Option<bool> {
        match self {
            Node::Scalar { text, plain: true } => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" => Some(true),
                "false" | "no" | "off" => Some(false),
                _ => None,
            },
            Node::Scalar { plain: false, .. } | Node::List(_) | Node::Map(_) => None,
        }
    }

    /// A number.
    pub fn number(&self) -> Option<f64> {
        match self {
            Node::Scalar { text, plain: true } => {
                text.replace('_', "").parse().ok().filter(|n: &f64| n.is_finite())
            }
            Node::Scalar { plain: false, .. } | Node::List(_) | Node::Map(_) => None,
        }
    }

    fn count(&self) -> usize {
        match self {
            Node::Scalar { .. } => 1,
            // Bounded by DEPTH_MAX.
            Node::List(list) => 1 + list.iter().map(Node::count).sum::<usize>(),
            Node::Map(map) => 1 + map.iter().map(|(_, node)| node.count()).sum::<usize>(),
        }
    }

    fn depth(&self) -> usize {
        match self {
            Node::Scalar { .. } => 0,
            Node::List(list) => 1 + list.iter().map(Node::depth).max().unwrap_or(0),
            Node::Map(map) => 1 + map.iter().map(|(_, node)| node.depth()).max().unwrap_or(0),
        }
    }
}

/// A list or a map that is not closed yet.
#[derive(Debug)]
struct Open {
    node: Node,
    /// The key whose value comes next.
    key: Option<String>,
    anchor: usize,
}

#[derive(Debug, Default)]
struct Builder {
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
}

/// Reads the first document.
pub fn read(text: &str) -> Result<Node> {
    if text.len() > BYTES_MAX {
        return Err(Error::usage(format!("is longer than the {BYTES_MAX} bytes that are read")));
    }
    let mut parser = Parser::new_from_str(text);
    let mut builder = Builder::default();
    loop {
        let (event, mark) = parser.next_token().map_err(|error| {
            let mark = error.marker();
            Error::usage(format!(
                "line {}, column {}: {}",
                mark.line(),
                mark.col() + 1,
                one_line(error.info(), 200)
            ))
        })?;
        let at = |error: Error| error.doing(format!("line {}", mark.line()));
        match event {
            Event::Nothing | Event::StreamStart | Event::DocumentStart => {}
            Event::StreamEnd | Event::DocumentEnd => {
                return Ok(builder.root.unwrap_or(Node::Scalar { text: String::new(), plain: true }));
            }
            Event::Scalar(text, style, anchor, _) => {
                builder
                    .add(Node::Scalar { text, plain: style == TScalarStyle::Plain }, anchor)
                    .map_err(at)?;
            }
            Event::Alias(anchor) => builder.alias(anchor).map_err(at)?,
            Event::SequenceStart(anchor, _) => builder.begin(Node::List(Vec::new()), anchor).map_err(at)?,
            Event::MappingStart(anchor, _) => builder.begin(Node::Map(Vec::new()), anchor).map_err(at)?,
            Event::SequenceEnd | Event::MappingEnd => builder.end().map_err(at)?,
        }
    }
}

impl Builder {
    fn begin(&mut self, node: Node, anchor: usize) -> Result<()> {
        if self.open.len() >= DEPTH_MAX {
            return Err(Error::usage(format!("nested deeper than {DEPTH_MAX}")));
        }
        self.open.push(Open { node, key: None, anchor });
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        match self.open.pop() {
            Some(done) => self.add(done.node, done.anchor),
            None => Ok(()),
        }
    }

    fn alias(&mut self, anchor: usize) -> Result<()> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(Error::usage("an alias of what is not closed yet, or nowhere"));
        };
        if self.nodes + node.count() > NODES_MAX {
            return Err(too_many());
        }
        if self.open.len() + node.depth() > DEPTH_MAX {
            return Err(Error::usage(format!("nested deeper than {DEPTH_MAX}")));
        }
        let node = node.clone();
        self.nodes += node.count();
        self.put(node)
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<()> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(too_many());
        }
        if anchor > 0 {
            self.nodes += node.count();
            self.anchors.insert(anchor, node.clone());
        }
        self.put(node)
    }

    fn put(&mut self, node: Node) -> Result<()> {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.node {
            Node::List(list) => list.push(node),
            Node::Map(map) => match open.key.take() {
                None => match node {
                    Node::Scalar { text, .. } => open.key = Some(text),
                    Node::List(_) | Node::Map(_) => return Err(Error::usage("a key must be a word")),
                },
                Some(key) if key == "<<" => merge(map, node),
                Some(key) => {
                    map.retain(|(other, _)| *other != key);
                    map.push((key, node));
                }
            },
            // Only lists and maps are opened.
            Node::Scalar { .. } => {}
        }
        Ok(())
    }
}

/// `<<: *base`: keys that are not there yet.
fn merge(map: &mut Vec<(String, Node)>, node: Node) {
    match node {
        Node::Map(entries) => {
            for (key, value) in entries {
                if !map.iter().any(|(other, _)| *other == key) {
                    map.push((key, value));
                }
            }
        }
        Node::List(list) => list.into_iter().for_each(|node| merge(map, node)),
        Node::Scalar { .. } => {}
    }
}

fn too_many() -> Error {
    Error::usage(format!("more than {NODES_MAX} values, those behind aliases counted each time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value in one line: words bare when plain, in quotes when quoted.
    fn shown(node: &Node) -> String {
        match node {
            Node::Scalar { text, plain: true } => text.clone(),
            Node::Scalar { text, plain: false } => format!("{text:?}"),
            Node::List(list) => format!("[{}]", list.iter().map(shown).collect::<Vec<_>>().join(",")),
            Node::Map(map) => {
                let entries: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", shown(v))).collect();
                format!("{{{}}}", entries.join(","))
            }
        }
    }

    #[track_caller]
    fn check(text: &str, want: &str) {
        assert_eq!(read(text).map(|node| shown(&node)).unwrap_or_else(|error| error.message()), want);
    }

    #[test]
    fn documents_are_read() {
        check("a: 1\nb: ['x', \"y\"]\nc:\n  - d: e\n", r#"{a:1,b:["x","y"],c:[{d:e}]}"#);
        check("", "");
        check("a: 1\na: 2\n", "{a:2}");
        check("base: &b {x: 1, y: 2}\nc:\n  <<: *b\n  y: 3\n", "{base:{x:1,y:2},c:{x:1,y:3}}");
        check("# only\n--- \na: 1\n---\nb: 2\n", "{a:1}");
        check("a: |\n  one\n  two\n", r#"{a:"one\ntwo\n"}"#);
    }

    #[test]
    fn words_are_read_as_before() {
        let word = |text: &str| Node::Scalar { text: text.to_owned(), plain: true };
        assert_eq!(
            [word("Yes"), word("off"), word("y"), word("1")].map(|n| n.truth()),
            [Some(true), Some(false), None, None]
        );
        assert_eq!(
            [word("60"), word("1_000"), word("0.5"), word("x"), word(".inf")].map(|n| n.number()),
            [Some(60.0), Some(1000.0), Some(0.5), None, None]
        );
        assert!(word("~").is_null() && word("").is_null() && word("null").text().is_none());
        assert!(!Node::Scalar { text: String::new(), plain: false }.is_null());
    }

    #[test]
    fn hostile_documents_are_refused_at_once() {
        let bomb = (0..20).fold("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, n| {
            format!("{text}a{}: &a{} [{}]\n", n + 1, n + 1, vec![format!("*a{n}"); 10].join(","))
        });
        check(&bomb, "line 5: more than 20000 values, those behind aliases counted each time");
        check(&"[".repeat(200), "line 1: nested deeper than 32");
        check(&"- ".repeat(100_000), "line 1: nested deeper than 32");
        check("a: &x [*x]\n", "line 1: an alias of what is not closed yet, or nowhere");
        check("? [a, b]\n: c\n", "line 1: a key must be a word");
        check(&"x".repeat(BYTES_MAX + 1), &format!("is longer than the {BYTES_MAX} bytes that are read"));
        for text in [
            "a: [1",
            "\ta: 1",
            "a: b: c",
            "%YAML 9\n---",
            "\u{0}",
            "*nowhere",
            "'open",
            "!!python/object:os.system x",
            "{a: 1, b}",
            "a: >\n\u{85}",
        ] {
            let _ = read(text);
        }
    }
}
