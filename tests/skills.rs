//! `skills`: what it writes for AI editors, what it keeps, where it does not go.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly, its helpers too")]

mod support;

use std::os::unix::fs::symlink;
use support::World;

fn read(world: &World, path: &str) -> String {
    std::fs::read_to_string(world.path().join(path)).unwrap()
}

#[test]
fn all_editors_are_served_once() {
    let world = World::new();
    let said = world.wk(["skills", "install", "--tool", "all", "--json"]).stdout("[\n...\n]\n").check();
    let rows: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 11);
    assert!(rows.as_array().unwrap().iter().all(|row| row["state"] == "written"), "{rows}");
    for (path, part) in [
        ("AGENTS.md", "## Watchkeeper"),
        (".claude/commands/watchkeeper.md", "$ARGUMENTS"),
        (".gemini/commands/watchkeeper.toml", "{{args}}"),
        (".cursor/commands/watchkeeper.md", "watchkeeper why NAME"),
        (".aider.conf.yml", "read: [AGENTS.md]"),
        (".windsurfrules", "watchkeeper begin"),
    ] {
        assert!(read(&world, path).contains(part), "{path}: {}", read(&world, path));
    }
    let before = read(&world, "AGENTS.md");
    world
        .wk(["skills", "install", "--tool", "all"])
        .stdout("agents    AGENTS.md: same\n...\nzed [..]: same\n")
        .check();
    assert_eq!(read(&world, "AGENTS.md"), before);
    world.wk(["skills", "--local"]).stdout("agents    AGENTS.md: same\n...\n").check();
    let said = world.wk(["skills", "list", "--global"]).stdout("...\n").check();
    assert!(
        said.stdout.lines().all(|line| line.contains("~/") && line.ends_with(": missing")),
        "{}",
        said.stdout
    );
}

#[test]
fn without_a_name_only_what_is_in_use_is_served() {
    let world = World::new();
    world.file(".cursor/rules/x", "");
    std::fs::create_dir_all(world.path().join("../home/.config/zed")).unwrap();
    world
        .wk(["skills", "install"])
        .env("PATH", "/nonexistent")
        .stdout("agents  AGENTS.md: written\ncursor  .cursor/commands/watchkeeper.md: written\nzed     .zed/prompts/watchkeeper.md: written\n")
        .no_file(".claude")
        .check();
    world
        .wk(["skills", "install", "--global", "--tool", "claude"])
        .stdout("claude  ~/.claude/commands/watchkeeper.md: written\n")
        .no_file(".claude")
        .check();
    assert!(world.path().join("../home/.claude/commands/watchkeeper.md").exists());
    world.wk(["skills", "install", "--global", "--tool", "agents"]).check();
}

#[test]
fn a_persons_text_is_kept() {
    let world = World::new();
    world.file("AGENTS.md", "# Ours\n\nBe kind.\n");
    world.file(".claude/commands/watchkeeper.md", "mine\n");
    world.file(".windsurfrules", "<!-- watchkeeper begin 1 -->\nno end\n");
    let install =
        |tool: &str| ["skills", "install", "--tool"].map(str::to_owned).into_iter().chain([tool.to_owned()]);
    world.wk(install("agents")).stdout("agents  AGENTS.md: written\n").check();
    let text = read(&world, "AGENTS.md");
    assert!(text.starts_with("# Ours\n\nBe kind.\n\n<!-- watchkeeper begin "), "{text}");
    world
        .wk(install("claude"))
        .code(1)
        .stdout("claude  .claude/commands/watchkeeper.md: kept as it is, somebody wrote or changed it (--force replaces it)\n")
        .file(".claude/commands/watchkeeper.md", "mine\n")
        .check();
    world
        .wk(install("windsurf").chain(["--force".to_owned()]))
        .code(1)
        .stdout("windsurf  .windsurfrules: kept[..]\n")
        .check();
    for n in ["", "-2"] {
        world
            .wk(install("claude").chain(["--force".to_owned()]))
            .stdout("claude  .claude/commands/watchkeeper.md: replaced\n")
            .check();
        let old = format!(".claude/commands/watchkeeper.md.old{n}");
        assert!(read(&world, &old).starts_with("mine"), "{old}");
        world.file(".claude/commands/watchkeeper.md", "mine again\n");
    }
}

#[test]
fn links_that_lead_out_are_not_followed() {
    let world = World::new();
    std::fs::create_dir(world.path().join("../elsewhere")).unwrap();
    symlink("../elsewhere", world.path().join(".claude")).unwrap();
    symlink("/nowhere/x", world.path().join(".aider.conf.yml")).unwrap();
    world.file("CLAUDE.md", "ours\n");
    symlink("CLAUDE.md", world.path().join("AGENTS.md")).unwrap();
    std::fs::create_dir_all(world.path().join(".windsurfrules")).unwrap();
    let said = world.wk(["skills", "install", "--tool", "all"]).code(1).stdout("...\n").check();
    for part in [
        "claude    .claude/commands/watchkeeper.md: refused: `$DIR/.claude`: is a link that leads out of `$DIR`",
        "aider     .aider.conf.yml: refused: `$DIR/.aider.conf.yml`: is a link that leads out of",
        "windsurf  .windsurfrules: refused: ",
        "agents    AGENTS.md: written",
    ] {
        assert!(said.stdout.contains(part), "{part} is not in\n{}", said.stdout);
    }
    assert_eq!(std::fs::read_dir(world.path().join("../elsewhere")).unwrap().count(), 0);
    assert!(read(&world, "CLAUDE.md").starts_with("ours\n\n<!-- watchkeeper begin"));
    assert!(std::fs::symlink_metadata(world.path().join("AGENTS.md")).unwrap().is_symlink());
}

#[test]
fn wrong_usage_is_refused() {
    let world = World::new();
    for (args, said) in [
        (&["skills", "remove"][..], "`skills` can `list` and `install`, not `remove`"),
        (&["skills", "install", "--tool", "claud"], "there is no editor `claud`"),
        (&["skills", "install", "--local", "--global"], "--local and --global: take one"),
    ] {
        world
            .wk(args.iter().copied())
            .code(2)
            .stderr(&format!("watchkeeper: {said}\n...\n"))
            .no_file("AGENTS.md")
            .check();
    }
}
