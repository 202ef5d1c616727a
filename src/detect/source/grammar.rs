//! The function that encloses a line, by tree-sitter. The work is bounded by counting the parser's own progress reports:
//! no clock is needed, and the same file always gives the same answer.

use super::{Enclosing, SOURCE_MAX, Syntax};
use tree_sitter::{Language, Node, ParseOptions, ParseState, Parser, Point, TreeCursor};

/// Progress reports of the parser after which a file is given up: it makes one for every hundred operations or so, and a
/// megabyte of usual source takes some ten thousand.
const REPORTS_MAX: usize = 40_000;
/// Deepest nesting that is followed.
const DEPTH_MAX: usize = 5000;
/// Longest name in a title, characters.
const NAME_MAX: usize = 80;

/// What encloses the line (from 1): the innermost function, else the innermost class.
pub(super) fn enclosing(syntax: Syntax, text: &str, line: usize) -> Option<Enclosing> {
    if text.len() > SOURCE_MAX {
        return None;
    }
    let mut parser = Parser::new();
    parser.set_language(&language(syntax)).ok()?;
    let mut reports = 0_usize;
    let mut watch = |_: &ParseState| {
        reports += 1;
        reports > REPORTS_MAX // true = give up
    };
    let options = ParseOptions::new().progress_callback(&mut watch);
    let bytes = text.as_bytes();
    let tree =
        parser.parse_with_options(&mut |at, _| bytes.get(at..).unwrap_or_default(), None, Some(options))?;
    let row = line - 1;
    let code = text.lines().nth(row)?;
    let column = code.len() - code.trim_start().len();
    descend(syntax, &mut tree.walk(), Point { row, column }, text)
}

fn language(syntax: Syntax) -> Language {
    match syntax {
        Syntax::Python => tree_sitter_python::LANGUAGE.into(),
        Syntax::JavaScript => tree_sitter_javascript::LANGUAGE.into(),
        Syntax::TypeScript => tree_sitter_typescript::LANGUAGE_TYPESCRIPT.into(),
        Syntax::Tsx => tree_sitter_typescript::LANGUAGE_TSX.into(),
        Syntax::Go => tree_sitter_go::LANGUAGE.into(),
        Syntax::Rust => tree_sitter_rust::LANGUAGE.into(),
        Syntax::Java => tree_sitter_java::LANGUAGE.into(),
    }
}

/// What a node is to us.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Function,
    Class,
    /// Belongs to the function or class within it: its first line is shown too.
    Wrapper,
}

fn shape(syntax: Syntax, kind: &str) -> Option<Shape> {
    let (functions, classes, wrappers): (&[&str], &[&str], &[&str]) = match syntax {
        Syntax::Python => (&["function_definition"], &["class_definition"], &["decorated_definition"]),
        Syntax::JavaScript | Syntax::TypeScript | Syntax::Tsx => (
            &[
                "function_declaration",
                "function_expression",
                "arrow_function",
                "method_definition",
                "generator_function",
                "generator_function_declaration",
            ],
            &["class_declaration", "class"],
            &[
                "lexical_declaration",
                "variable_declarator",
                "export_statement",
                "pair",
                "public_field_definition",
            ],
        ),
        Syntax::Go => (&["function_declaration", "method_declaration"], &["type_declaration"], &[]),
        Syntax::Rust => (&["function_item"], &["impl_item", "trait_item", "struct_item"], &[]),
        Syntax::Java => (
            &["method_declaration", "constructor_declaration", "static_initializer"],
            &["class_declaration", "record_declaration", "enum_declaration", "interface_declaration"],
            &[],
        ),
    };
    let is = |list: &[&str]| list.contains(&kind);
    if is(functions) {
        Some(Shape::Function)
    } else if is(classes) {
        Some(Shape::Class)
    } else {
        is(wrappers).then_some(Shape::Wrapper)
    }
}

/// Down to the place, remembering the innermost function and class on the way.
fn descend(syntax: Syntax, cursor: &mut TreeCursor<'_>, place: Point, text: &str) -> Option<Enclosing> {
    let (mut function, mut class): (Option<Enclosing>, Option<Enclosing>) = (None, None);
    let mut wrapper: Option<(usize, String)> = None;
    for _ in 0..DEPTH_MAX {
        let node = cursor.node();
        match shape(syntax, node.kind()) {
            // A callback on one line is part of the function around it.
            Some(Shape::Function) if node.end_position().row > node.start_position().row => {
                function = Some(title("function", node, wrapper.take(), text));
            }
            Some(Shape::Class) => class = Some(title("class", node, wrapper.take(), text)),
            Some(Shape::Wrapper) => {
                let (first, name) = wrapper.take().unwrap_or((node.start_position().row + 1, String::new()));
                let own = name_of(node, text);
                wrapper = Some((first, if own.is_empty() { name } else { own }));
            }
            Some(Shape::Function) | None => wrapper = None,
        }
        if cursor.goto_first_child_for_point(place).is_none() || cursor.node().start_position() > place {
            break;
        }
    }
    function.or(class)
}

fn title(what: &str, node: Node<'_>, wrapper: Option<(usize, String)>, text: &str) -> Enclosing {
    let (first, given) = wrapper.unwrap_or((node.start_position().row + 1, String::new()));
    let own = name_of(node, text);
    let name = if own.is_empty() { given } else { own };
    let title = if name.is_empty() { format!("{what} without a name") } else { format!("{what} {name}") };
    Enclosing { title, first, last: node.end_position().row + 1 }
}

fn name_of(node: Node<'_>, text: &str) -> String {
    let named = ["name", "key", "type"].iter().find_map(|field| node.child_by_field_name(field));
    let name = named.and_then(|name| text.get(name.byte_range())).unwrap_or_default();
    crate::base::text::one_line(name, NAME_MAX)
}

#[cfg(test)]
mod tests {
    use super::super::snippet;
    use super::*;

    /// The title and lines of what encloses the line that holds `HERE`.
    #[track_caller]
    fn check(syntax: Syntax, text: &str, want: &str, lines: (usize, usize)) {
        let line = text.lines().position(|line| line.contains("HERE")).unwrap() + 1;
        let found = enclosing(syntax, text, line).unwrap();
        assert_eq!((found.title.as_str(), (found.first, found.last)), (want, lines));
    }

    #[test]
    fn the_innermost_function_is_found() {
        let python = "import x\n\n@cache\ndef step(a):\n    b = a\n    return b / 0  # HERE\n\nprint(1)\n";
        check(Syntax::Python, python, "function step", (3, 6));
        let method = "class Net:\n    lr = 1\n    def forward(self):\n        return HERE\n";
        check(Syntax::Python, method, "function forward", (3, 4));
        check(Syntax::Python, "class Net:\n    lr = 1\n    HERE = 2\n", "class Net", (1, 3));
        let js = "const run = async (a) => {\n  await b();\n  throw HERE;\n};\n";
        check(Syntax::JavaScript, js, "function run", (1, 4));
        let callback = "function go(list) {\n  return list.map((x) => x.HERE);\n}\n";
        check(Syntax::JavaScript, callback, "function go", (1, 3));
        let ts = "export class A {\n  async load(id: string): Promise<void> {\n    HERE();\n  }\n}\n";
        check(Syntax::TypeScript, ts, "function load", (2, 4));
        check(Syntax::Tsx, "function App() {\n  return <a>{HERE}</a>;\n}\n", "function App", (1, 3));
        let go = "package main\n\nfunc (s *Server) Run() {\n\tgo func() {\n\t\tpanic(HERE)\n\t}()\n}\n";
        check(Syntax::Go, go, "function Run", (3, 7));
        let rust = "impl A {\n    fn load(&self) -> u8 {\n        HERE.unwrap()\n    }\n}\n";
        check(Syntax::Rust, rust, "function load", (2, 4));
        let java = "class Main {\n  static void run() {\n    throw HERE;\n  }\n}\n";
        check(Syntax::Java, java, "function run", (2, 4));
    }

    #[test]
    fn broken_and_hostile_sources_are_no_trouble() {
        let broken = "def a(:\n  x = (\ndef b():\n    HERE\n";
        assert!(snippet(Syntax::Python, broken, 4).is_some());
        let deep = "(".repeat(100_000);
        assert!(snippet(Syntax::JavaScript, &format!("{deep}\nx"), 2).is_some());
        assert!(snippet(Syntax::Rust, &"{\n".repeat(20_000), 10_000).is_some());
        assert!(snippet(Syntax::Java, "\u{0}\u{feff}é\n\"", 1).is_some());
    }

    #[test]
    fn a_long_function_shows_its_head_and_the_lines_around() {
        let body: String = (2..=300).map(|n| format!("    x = {n}\n")).collect();
        let shown = snippet(Syntax::Python, &format!("def long():\n{body}"), 200).unwrap().render();
        assert_eq!(shown[0], "    1 | def long():");
        assert_eq!(shown[4], "    … |");
        assert!(shown.contains(&"> 200 |     x = 200".to_owned()) && shown.len() < 50, "{shown:?}");
    }
}
