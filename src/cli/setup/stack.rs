//! What kind of project a folder holds, and how it is started: Python, Node, Go, Rust, Java, Make.
//!
//! Deliberately not here: what is written about it (`propose`), reading the folder: a [`Look`] is handed in.

use regex::Regex;
use std::fmt;

/// A folder as seen by the detection.
pub struct Look<'a> {
    /// The folder's own name, "" when it has none.
    pub folder: &'a str,
    /// Names in it, sorted.
    pub names: &'a [String],
    /// Names in a folder below it, sorted; none when there is no such folder.
    pub list: &'a dyn Fn(&str) -> Vec<String>,
    /// The text of a file below it (bounded); None when there is none.
    pub read: &'a dyn Fn(&str) -> Option<String>,
}

impl fmt::Debug for Look<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Look").field("names", &self.names).finish_non_exhaustive()
    }
}

/// What a project is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    Python,
    Node,
    Go,
    Rust,
    Java,
    Make,
}

/// What it does, as far as its files tell: it decides which detectors and rules are proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Trains a model: GPU memory, loss, steps.
    Training,
    /// Serves until it is stopped.
    Server,
    /// Anything else: begins, works, ends.
    Job,
}

/// How a project is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub stack: Stack,
    /// The file that says so.
    pub evidence: String,
    /// A name for the process.
    pub name: String,
    /// The words of the command.
    pub command: Vec<String>,
    /// Why this command, in one line.
    pub because: String,
    pub work: Work,
    /// Environment that helps.
    pub env: Vec<(String, String)>,
    /// The variable of the batch size that its script reads, with its present value.
    pub batch: Option<(String, String)>,
}

/// Everything that is found in a folder, the one to propose first.
pub fn detect(look: &Look<'_>) -> Vec<Found> {
    [python(look), node(look), go(look), rust(look), java(look), make(look)].into_iter().flatten().collect()
}

impl Stack {
    /// Its name for people.
    pub fn word(self) -> &'static str {
        match self {
            Stack::Python => "Python",
            Stack::Node => "Node",
            Stack::Go => "Go",
            Stack::Rust => "Rust",
            Stack::Java => "Java",
            Stack::Make => "Make",
        }
    }
}

impl Look<'_> {
    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|found| found == name)
    }

    /// The first of these names that is there.
    fn first<'n>(&self, names: &[&'n str]) -> Option<&'n str> {
        names.iter().copied().find(|name| self.has(name))
    }

    fn text(&self, path: &str) -> String {
        (self.read)(path).unwrap_or_default()
    }

    /// The folder's name as a unit's name.
    fn unit_name(&self) -> String {
        unit_name(self.folder).unwrap_or_else(|| "main".to_owned())
    }
}

/// A text as a unit's name, None when nothing of it is left.
pub fn unit_name(text: &str) -> Option<String> {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let name: String = text.chars().map(plain).take(40).collect();
    let name = name.trim_matches('-');
    (!name.is_empty()).then(|| name.to_owned())
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn env(entries: &[(&str, &str)]) -> Vec<(String, String)> {
    entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn mentions(text: &str, words: &[&str]) -> bool {
    let text = text.to_lowercase();
    words.iter().any(|word| {
        text.match_indices(word).any(|(at, _)| {
            let part = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
            !part(text[..at].chars().next_back()) && !part(text[at + word.len()..].chars().next())
        })
    })
}

/// Libraries by which a project trains models, or serves.
const TRAINING: &[&str] = &[
    "torch",
    "tensorflow",
    "jax",
    "keras",
    "transformers",
    "lightning",
    "deepspeed",
    "accelerate",
    "xgboost",
];
const PYTHON_SERVERS: &[&str] =
    &["fastapi", "flask", "django", "uvicorn", "gunicorn", "aiohttp", "starlette", "sanic", "tornado"];
const NODE_SERVERS: &[&str] =
    &["express", "fastify", "koa", "next", "nuxt", "vite", "hono", "nestjs", "socket"];

/// Scripts that are likely to be the one, the likeliest first.
const SCRIPTS: &[&str] = &[
    "train.py",
    "main.py",
    "run.py",
    "app.py",
    "server.py",
    "worker.py",
    "pipeline.py",
    "manage.py",
    "__main__.py",
];

fn python(look: &Look<'_>) -> Option<Found> {
    let manifest =
        look.first(&["pyproject.toml", "setup.py", "requirements.txt", "uv.lock", "poetry.lock", "Pipfile"]);
    let script = python_script(look);
    let evidence = manifest.map(str::to_owned).or_else(|| script.clone())?;
    let pyproject: toml::Table = look.text("pyproject.toml").parse().unwrap_or_default();
    let entry = project_script(&pyproject);
    let (mut command, mut because) = runner(look, &pyproject);
    let mut name = look.unit_name();
    let mut source = String::new();
    match (&script, entry) {
        (Some(script), _) => {
            source = look.text(script);
            name = unit_name(script.trim_end_matches(".py")).unwrap_or(name);
            command.push(script.clone());
            if script == "manage.py" {
                command.push("runserver".to_owned());
            }
        }
        (None, Some(entry)) => {
            // The runner's Python has the project's own programs beside it.
            command.pop();
            command.push(entry.clone());
            because = format!("{because}; `{entry}` is the program that pyproject.toml names");
            name = unit_name(&entry).unwrap_or(name);
        }
        (None, None) => {
            command.push("main.py".to_owned());
            because = format!("{because}; no script was found: put yours in place of main.py");
        }
    }
    let said =
        ["pyproject.toml", "requirements.txt", "setup.py", "Pipfile"].map(|file| look.text(file)).join("\n");
    let all = format!("{said}\n{source}");
    let work = match () {
        () if mentions(&all, TRAINING) || name.starts_with("train") => Work::Training,
        () if mentions(&all, PYTHON_SERVERS) => Work::Server,
        () => Work::Job,
    };
    let batch = batch(&source);
    let mut env = env(&[("PYTHONUNBUFFERED", "1")]);
    env.extend(batch.clone());
    Some(Found { stack: Stack::Python, evidence, name, command, because, work, env, batch })
}

/// The words before the script, the last one being the Python itself.
fn runner(look: &Look<'_>, pyproject: &toml::Table) -> (Vec<String>, String) {
    let tool = |name: &str| pyproject.get("tool").and_then(|tool| tool.get(name)).is_some();
    if look.has("uv.lock") || tool("uv") {
        return (words(&["uv", "run", "python"]), "uv keeps this project".to_owned());
    }
    if look.has("poetry.lock") || tool("poetry") {
        return (words(&["poetry", "run", "python"]), "poetry keeps this project".to_owned());
    }
    for venv in [".venv", "venv"] {
        if look.has(venv) {
            let python = format!("{venv}/bin/python");
            return (words(&[&format!("./{python}")]), format!("its own environment is in {venv}"));
        }
    }
    (words(&["python3"]), "no environment of its own was found: the Python on the PATH".to_owned())
}

fn python_script(look: &Look<'_>) -> Option<String> {
    if let Some(script) = look.first(SCRIPTS) {
        return Some(script.to_owned());
    }
    let other = |name: &&String| {
        let skip = ["setup.py", "conftest.py", "noxfile.py", "tasks.py", "__init__.py"];
        name.ends_with(".py") && !skip.contains(&name.as_str()) && !name.starts_with("test_")
    };
    let scripts: Vec<&String> = look.names.iter().filter(other).collect();
    // One that has `train` in its name is it; else only the only one.
    let train = scripts.iter().find(|name| name.contains("train"));
    train.or(if scripts.len() == 1 { scripts.first() } else { None }).map(|name| (*name).clone())
}

fn project_script(pyproject: &toml::Table) -> Option<String> {
    let scripts = pyproject.get("project")?.get("scripts")?.as_table()?;
    scripts.keys().next().cloned()
}

/// `os.environ.get("BATCH_SIZE", "32")`: the variable and its value.
fn batch(source: &str) -> Option<(String, String)> {
    let read = Regex::new(
        r#"(?:environ\.get\(|getenv\()\s*["']([A-Z0-9_]*BATCH[A-Z0-9_]*)["']\s*,\s*["']?(\d{1,6})\b"#,
    );
    let found = read.ok()?.captures(source)?;
    Some((found[1].to_owned(), found[2].to_owned()))
}

fn node(look: &Look<'_>) -> Option<Found> {
    let text = look.has("package.json").then(|| look.text("package.json"))?;
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let manager = match look.first(&["pnpm-lock.yaml", "yarn.lock", "bun.lock", "bun.lockb"]) {
        Some("pnpm-lock.yaml") => "pnpm",
        Some("yarn.lock") => "yarn",
        Some(_) => "bun",
        None => "npm",
    };
    let has_script = |name: &&&str| manifest["scripts"][**name].is_string();
    let script = ["start", "serve", "train", "worker", "main", "dev"].iter().find(has_script);
    let main = manifest["main"].as_str().map(str::to_owned);
    let file =
        main.or_else(|| look.first(&["server.js", "index.js", "main.js", "app.js"]).map(str::to_owned));
    let (command, because) = match (script, file) {
        (Some(script), _) => {
            (words(&[manager, "run", script]), format!("`{script}` is a script of package.json"))
        }
        (None, Some(file)) => {
            (words(&["node", &file]), format!("package.json has no script to start it, {file} is there"))
        }
        (None, None) => (
            words(&[manager, "run", "start"]),
            "package.json has no script to start it: put your command here".to_owned(),
        ),
    };
    let name = manifest["name"].as_str().and_then(unit_name).unwrap_or_else(|| look.unit_name());
    let serves = script.is_some_and(|script| *script == "serve") || mentions(&text, NODE_SERVERS);
    let work = if serves { Work::Server } else { Work::Job };
    let evidence = "package.json".to_owned();
    Some(Found { stack: Stack::Node, evidence, name, command, because, work, env: Vec::new(), batch: None })
}

fn go(look: &Look<'_>) -> Option<Found> {
    let text = look.has("go.mod").then(|| look.text("go.mod"))?;
    let module = text.lines().find_map(|line| line.trim().strip_prefix("module "));
    let name = module.and_then(|path| unit_name(path.trim().rsplit('/').next()?));
    let name = name.unwrap_or_else(|| look.unit_name());
    let (command, main) = go_program(look, &name);
    let because = match main.as_str() {
        "" => "no program was found: name its folder".to_owned(),
        main => format!("{main} is there; a built binary would start faster"),
    };
    let servers = ["net/http", "gin", "echo", "fiber", "grpc", "chi"];
    let serves = mentions(&text, &servers[1..]) || mentions(&look.text(&main), &servers);
    let work = if serves { Work::Server } else { Work::Job };
    // All goroutines of a crash, not only the one that died.
    let env = env(&[("GOTRACEBACK", "all")]);
    Some(Found {
        stack: Stack::Go,
        evidence: "go.mod".into(),
        name,
        command,
        because,
        work,
        env,
        batch: None,
    })
}

/// The command of Go's program and the file that begins it, "" when none was found.
fn go_program(look: &Look<'_>, name: &str) -> (Vec<String>, String) {
    let is_main = |path: &String| {
        let text = look.text(path);
        text.lines().any(|line| line.split_whitespace().eq(["package", "main"]))
    };
    let go = |name: &&String| name.ends_with(".go") && !name.ends_with("_test.go");
    let here = ["main.go".to_owned()].into_iter().filter(|name| look.has(name));
    let here = here.chain(look.names.iter().filter(go).filter(|name| is_main(name)).cloned());
    if let Some(file) = here.into_iter().next() {
        return (words(&["go", "run", "."]), file);
    }
    // The one with the module's name first: it is what the module is called for.
    let mut programs = (look.list)("cmd");
    programs.sort_by_key(|program| program != name);
    let main = |program: &String| {
        let folder = format!("cmd/{program}");
        let mut files = (look.list)(&folder);
        files.retain(|file| go(&file));
        files.iter().map(|file| format!("{folder}/{file}")).find(is_main)
    };
    match programs.iter().find_map(|program| Some((program, main(program)?))) {
        Some((program, main)) => (words(&["go", "run", &format!("./cmd/{program}")]), main),
        None => (words(&["go", "run", "."]), String::new()),
    }
}

fn rust(look: &Look<'_>) -> Option<Found> {
    let text = look.has("Cargo.toml").then(|| look.text("Cargo.toml"))?;
    let manifest: toml::Table = text.parse().unwrap_or_default();
    let package = manifest.get("package");
    let name = package.and_then(|package| package.get("name")).and_then(|name| name.as_str());
    let name = name.and_then(unit_name).unwrap_or_else(|| look.unit_name());
    let mut programs: Vec<String> = (look.list)("src/bin");
    programs.iter_mut().for_each(|file| *file = file.trim_end_matches(".rs").to_owned());
    let bins = manifest.get("bin").and_then(|bins| bins.as_array());
    let named = bins.into_iter().flatten().filter_map(|bin| bin.get("name")?.as_str().map(str::to_owned));
    programs.extend(named);
    if look.has("src") && (look.list)("src").iter().any(|file| file == "main.rs") {
        programs.push(name.clone());
    }
    programs.sort();
    programs.dedup();
    programs.sort_by_key(|program| *program != name);
    let default = package.and_then(|package| package.get("default-run"));
    let mut command = words(&["cargo", "run", "--release"]);
    let mut because = "Cargo.toml is here; `target/release/…` itself would start faster".to_owned();
    if let (None, [first, _, ..]) = (default, programs.as_slice()) {
        command.extend(words(&["--bin", first]));
        because = format!("it has several programs ({}): name the one you mean", programs.join(", "));
    }
    let serves = mentions(&text, &["axum", "actix-web", "hyper", "tonic", "warp", "rocket"]);
    let work = if serves { Work::Server } else { Work::Job };
    let env = env(&[("RUST_BACKTRACE", "1")]);
    Some(Found {
        stack: Stack::Rust,
        evidence: "Cargo.toml".into(),
        name,
        command,
        because,
        work,
        env,
        batch: None,
    })
}

fn java(look: &Look<'_>) -> Option<Found> {
    let evidence = look.first(&["pom.xml", "build.gradle", "build.gradle.kts"])?;
    let text = look.text(evidence);
    let spring = text.contains("spring-boot");
    let (wrapper, tool, task) = match (evidence, spring) {
        ("pom.xml", true) => ("mvnw", "mvn", "spring-boot:run"),
        ("pom.xml", false) => ("mvnw", "mvn", "exec:java"),
        (_, true) => ("gradlew", "gradle", "bootRun"),
        (_, false) => ("gradlew", "gradle", "run"),
    };
    let program = if look.has(wrapper) { format!("./{wrapper}") } else { tool.to_owned() };
    let quiet = if tool == "mvn" { "-q" } else { "--console=plain" };
    let command = words(&[&program, quiet, task]);
    let because = format!("{evidence} is here; `java -jar` of the built file would start faster");
    let work = if spring { Work::Server } else { Work::Job };
    let name = look.unit_name();
    let evidence = evidence.to_owned();
    Some(Found { stack: Stack::Java, evidence, name, command, because, work, env: Vec::new(), batch: None })
}

fn make(look: &Look<'_>) -> Option<Found> {
    let evidence = look.first(&["GNUmakefile", "makefile", "Makefile"])?;
    let text = look.text(evidence);
    let has = |target: &&&str| text.lines().any(|line| line.starts_with(&format!("{target}:")));
    let target = ["train", "run", "start", "serve", "all"].iter().find(has);
    let (command, because) = match target {
        Some(target) => (words(&["make", target]), format!("`{target}` is a target of {evidence}")),
        None => (words(&["make"]), format!("the first target of {evidence}: name the one you mean")),
    };
    let work = match target {
        Some(&"train") => Work::Training,
        Some(&"serve") => Work::Server,
        Some(_) | None => Work::Job,
    };
    let name = look.unit_name();
    let evidence = evidence.to_owned();
    Some(Found { stack: Stack::Make, evidence, name, command, because, work, env: Vec::new(), batch: None })
}

#[cfg(test)]
#[path = "stack_tests.rs"]
mod tests;
