use super::*;

/// A folder of these files: what is proposed, as `Stack/work name: command [env]`.
#[track_caller]
fn check(files: &[(&str, &str)], want: &[&str]) {
    let mut names: Vec<String> =
        files.iter().map(|(path, _)| path.split('/').next().unwrap_or_default().to_owned()).collect();
    names.sort();
    names.dedup();
    let read = |path: &str| files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned());
    let list = |folder: &str| {
        let below =
            |path: &str| path.strip_prefix(folder)?.strip_prefix('/')?.split('/').next().map(str::to_owned);
        let mut names: Vec<String> = files.iter().filter_map(|(path, _)| below(path)).collect();
        names.sort();
        names.dedup();
        names
    };
    let look = Look { folder: "my project", names: &names, list: &list, read: &read };
    let found: Vec<String> = detect(&look)
        .iter()
        .map(|found| {
            let env: Vec<String> = found.env.iter().map(|(k, v)| format!(" {k}={v}")).collect();
            format!(
                "{:?}/{:?} {}: {}{}",
                found.stack,
                found.work,
                found.name,
                found.command.join(" "),
                env.concat()
            )
        })
        .collect();
    assert_eq!(found, want);
}

#[test]
fn python() {
    let u = "PYTHONUNBUFFERED=1";
    check(
        &[("pyproject.toml", "[project]\ndependencies = [\"torch>=2\"]"), ("uv.lock", ""), ("train.py", "")],
        &[&format!("Python/Training train: uv run python train.py {u}")],
    );
    check(
        &[("requirements.txt", "flask\n"), ("app.py", ""), (".venv/bin/python", "")],
        &[&format!("Python/Server app: ./.venv/bin/python app.py {u}")],
    );
    check(
        &[("pyproject.toml", "[tool.poetry]\nname = \"x\"\n[project.scripts]\nwork = \"x:main\"")],
        &[&format!("Python/Job work: poetry run work {u}")],
    );
    check(
        &[("train_gpt.py", "b = int(os.environ.get('BATCH_SIZE', '64'))"), ("data.py", "")],
        &[&format!("Python/Training train_gpt: python3 train_gpt.py {u} BATCH_SIZE=64")],
    );
    check(
        &[("setup.py", ""), ("a.py", ""), ("b.py", "")],
        &[&format!("Python/Job my-project: python3 main.py {u}")],
    );
    check(
        &[("manage.py", "import django")],
        &[&format!("Python/Server manage: python3 manage.py runserver {u}")],
    );
    check(&[("only.py", "import torchlight")], &[&format!("Python/Job only: python3 only.py {u}")]);
    check(&[("pyproject.toml", "[[ not toml")], &[&format!("Python/Job my-project: python3 main.py {u}")]);
}

#[test]
fn node_go_rust_java_make() {
    let start = r#"{"name": "@me/web app", "scripts": {"dev": "x", "start": "node ."}, "dependencies": {"express": "4"}}"#;
    check(&[("package.json", start)], &["Node/Server me-web-app: npm run start"]);
    check(&[("package.json", start), ("pnpm-lock.yaml", "")], &["Node/Server me-web-app: pnpm run start"]);
    check(&[("package.json", r#"{"main": "src/go.js"}"#)], &["Node/Job my-project: node src/go.js"]);
    check(&[("package.json", "{ not json")], &["Node/Job my-project: npm run start"]);
    check(
        &[("go.mod", "module example.org/x/crawler\n"), ("cmd/crawler/main.go", "package main")],
        &["Go/Job crawler: go run ./cmd/crawler GOTRACEBACK=all"],
    );
    check(
        &[
            ("go.mod", "module x\n"),
            ("doc.go", "package x"),
            ("cmd/lib/a.go", "package lib"),
            ("cmd/worker/w.go", "package main\nimport \"net/http\""),
        ],
        &["Go/Server x: go run ./cmd/worker GOTRACEBACK=all"],
    );
    check(
        &[("go.mod", "module x\n"), ("serve.go", "// x\npackage main")],
        &["Go/Job x: go run . GOTRACEBACK=all"],
    );
    check(
        &[("go.mod", "module web\n"), ("main.go", "import \"net/http\"")],
        &["Go/Server web: go run . GOTRACEBACK=all"],
    );
    check(
        &[("Cargo.toml", "[package]\nname = \"ants\"\n[[bin]]\nname=\"a\"\n[[bin]]\nname=\"b\"")],
        &["Rust/Job ants: cargo run --release --bin a RUST_BACKTRACE=1"],
    );
    check(
        &[("Cargo.toml", "[package]\nname = \"ants\""), ("src/main.rs", ""), ("src/bin/feed.rs", "")],
        &["Rust/Job ants: cargo run --release --bin ants RUST_BACKTRACE=1"],
    );
    check(
        &[("Cargo.toml", "[package]\nname = \"ants\""), ("src/main.rs", "")],
        &["Rust/Job ants: cargo run --release RUST_BACKTRACE=1"],
    );
    check(
        &[("pom.xml", "spring-boot"), ("mvnw", "")],
        &["Java/Server my-project: ./mvnw -q spring-boot:run"],
    );
    check(&[("build.gradle.kts", "")], &["Java/Job my-project: gradle --console=plain run"]);
    check(&[("Makefile", "all:\n\ttrue\ntrain: data\n")], &["Make/Training my-project: make train"]);
}

#[test]
fn several_at_once_and_nothing() {
    check(
        &[("Makefile", "run:\n"), ("train.py", ""), ("package.json", "{}")],
        &[
            "Python/Training train: python3 train.py PYTHONUNBUFFERED=1",
            "Node/Job my-project: npm run start",
            "Make/Job my-project: make run",
        ],
    );
    check(&[("README.md", "")], &[]);
}
