//! Traces that the samples do not have: other versions' formats, other prefixes, interleavings, cuts. Each case is the log,
//! and what is found: `language exception: message | file:line function, …  [chain]`; nothing = silent.
//!
//! Formats after the documentation and the sources of the programs that print them.

use super::tests::scan;

#[track_caller]
fn check(log: &str, want: &[&str]) {
    for piece in [log.len().max(1), 3] {
        let found = scan(log.as_bytes(), piece);
        let got: Vec<String> = found
            .iter()
            .map(|one| {
                let own = one.frames.iter().filter(|frame| !frame.library);
                let frames: Vec<_> = own
                    .map(|f| format!("{}:{} {}", f.file, f.line, f.function).trim_end().to_owned())
                    .collect();
                let chain: Vec<_> =
                    one.chain.iter().map(|c| format!("{}: {}", c.exception, c.message)).collect();
                let chain = if chain.is_empty() { String::new() } else { format!(" [{}]", chain.join("; ")) };
                let language = one.language.map_or("", |language| language.word());
                let exception = one.exception.as_deref().unwrap_or("-");
                format!("{language} {exception}: {} | {}{chain}", one.message, frames.join(", "))
            })
            .collect();
        assert_eq!(got, want, "{log}");
    }
}

const PY: &str =
    "Traceback (most recent call last):\n  File \"/a.py\", line 3, in f\n    g()\nValueError: bad\n";

#[test]
fn python_chains_and_groups() {
    check(
        "Traceback (most recent call last):\n  File \"/a.py\", line 2, in f\n    x\nKeyError: 'a'\n\nThe above exception was the direct cause of the following exception:\n\nTraceback (most recent call last):\n  File \"/a.py\", line 5, in g\n    y\nOSError: b\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"/a.py\", line 9, in h\n    z\nRuntimeError: c\n",
        &["python RuntimeError: c | /a.py:9 h [KeyError: 'a'; OSError: b]"],
    );
    check(
        "  + Exception Group Traceback (most recent call last):\n  |   File \"/g.py\", line 9, in <module>\n  |     main()\n  | ExceptionGroup: two (2 sub-exceptions)\n  +-+---------------- 1 ----------------\n    | Traceback (most recent call last):\n    |   File \"/g.py\", line 3, in a\n    |     raise ValueError(\"x\")\n    | ValueError: x\n    +---------------- 2 ----------------\n    | TypeError: y\n    +------------------------------------\nafter\n",
        &["python ExceptionGroup: two (2 sub-exceptions) | /g.py:9 <module> [ValueError: x; TypeError: y]"],
    );
    check(
        "2026-01-01 ERROR app:   + Exception Group Traceback (most recent call last):\n  |   File \"/g.py\", line 9, in <module>\n  | ExceptionGroup: one (1 sub-exception)\n  +-+---------------- 1 ----------------\n    | ValueError: x\n    +------------------------------------\n",
        &["python ExceptionGroup: one (1 sub-exception) | /g.py:9 <module> [ValueError: x]"],
    );
}

#[test]
fn python_odd_ones() {
    check(
        "  File \"/s.py\", line 2\n    y = = 2\n        ^\nSyntaxError: invalid syntax\n",
        &["python SyntaxError: invalid syntax | /s.py:2"],
    );
    check(
        "Sorry: IndentationError: unexpected indent (s.py, line 2)\n  File \"/s.py\", line 2\nnothing\n",
        &[],
    );
    check(
        "Traceback (most recent call last):\n  File \"/r.py\", line 2, in f\n    f()\n  [Previous line repeated 996 more times]\nRecursionError: maximum recursion depth exceeded\n",
        &["python RecursionError: maximum recursion depth exceeded | /r.py:2 f"],
    );
    check(
        "--- Logging error ---\nTraceback (most recent call last):\n  File \"/l.py\", line 3, in emit\n    x\nTypeError: not all arguments converted\nCall stack:\n  File \"/l.py\", line 9, in <module>\n    log()\nMessage: 'a'\n",
        &["python TypeError: not all arguments converted | /l.py:3 emit"],
    );
    check(
        "Traceback (most recent call last):\n  File \"/t.py\", line 8, in load\n    raise\nRuntimeError: Error(s) in loading state_dict for Net:\n\tsize mismatch for fc.weight\n",
        &[
            "python RuntimeError: Error(s) in loading state_dict for Net:\n\tsize mismatch for fc.weight | /t.py:8 load",
        ],
    );
    check(
        "Traceback (most recent call last):\n  File \"/q.py\", line 2, in q\n    raise ValueError(\"SQL:\\n  a\\nnear b\")\nValueError: SQL:\n  a\nnear b\nnext\n",
        &["python ValueError: SQL:\n  a\nnear b | /q.py:2 q"],
    );
    check(
        "(RayTask pid=12) Traceback (most recent call last):\n(RayTask pid=12)   File \"/a.py\", line 3, in f\n(RayTask pid=12) ray.exceptions.RayTaskError(ValueError): ray::f()\n",
        &["python ray.exceptions.RayTaskError(ValueError): ray::f() | /a.py:3 f"],
    );
    check(
        "Task exception was never retrieved\nfuture: <Task finished exception=ValueError('x')>\nTraceback (most recent call last):\n  File \"/a.py\", line 3, in f\n    x\nValueError: x\n",
        &["python ValueError: x | /a.py:3 f"],
    );
    check(
        "Fatal Python error: Aborted\n\nThread 0x00007f01 (most recent call first):\n  File \"/w.py\", line 9 in wait\n\nCurrent thread 0x00007f02 (most recent call first):\n  File \"/a.py\", line 3 in f\n\nExtension modules: numpy.core (total: 1)\n",
        &["python Fatal Python error: Aborted | /a.py:3 f"],
    );
    check("Traceback (most recent call last):\nok\n", &[]);
}

#[test]
fn python_prefixes_and_company() {
    let want = ["python ValueError: bad | /a.py:3 f"];
    check(&format!("2026-01-01 12:00:00,123 ERROR root: failed\n{PY}done\n"), &want);
    check(&PY.replacen("Traceback", "12:00 ERROR app Traceback", 1), &want);
    check(&format!(" 5%|##   | 1/20 [00:01<00:19]{PY}"), &want);
    check(&format!(" 5%|##   | 1/20\r10%|##   | 2/20\r{PY}"), &want);
    check(&PY.trim_end().replace('\n', "\r\n"), &want);
    let two: String =
        PY.lines().map(|line| format!("a | {line}\nb | {}\n", line.replace("/a.py", "/b.py"))).collect();
    check(&two, &["python ValueError: bad | /a.py:3 f", "python ValueError: bad | /b.py:3 f"]);
    check(
        "Traceback (most recent call last):\n  File \"/a.py\", line 3, in f\n2026-01-01 12:00:00 INFO step 7\n    g()\nValueError: bad\n",
        &want,
    );
    check(
        "Traceback (most recent call last):\n  File \"\x1b[35m/a.py\x1b[0m\", line \x1b[35m3\x1b[0m, in \x1b[35mf\x1b[0m\n    g()\n\x1b[1;35mValueError\x1b[0m: \x1b[35mbad\x1b[0m\n",
        &want,
    );
    check(
        "{\"level\":\"error\",\"exc_info\":\"Traceback (most recent call last):\\n  File \\\"/a.py\\\", line 3, in f\\n    g()\\nValueError: bad\"}\n",
        &want,
    );
    check(&format!("{PY}{PY}"), &[want[0], want[0]]);
    check(
        "======================================================================\nERROR: test_a (t.T.test_a)\n----------------------------------------------------------------------\nTraceback (most recent call last):\n  File \"/t.py\", line 3, in test_a\n    x\nValueError: bad\n\n----------------------------------------------------------------------\nRan 1 test in 0.001s\n\nFAILED (errors=1)\n",
        &[],
    );
}

#[test]
fn go() {
    let stack = "goroutine 1 [running]:\nmain.main()\n\t/app/main.go:7 +0x1\nexit status 2\n";
    check(
        &format!(
            "panic: runtime error: invalid memory address or nil pointer dereference\n[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x1]\n\n{stack}"
        ),
        &[
            "go panic: runtime error: invalid memory address or nil pointer dereference | /app/main.go:7 main.main",
        ],
    );
    check(
        "fatal error: all goroutines are asleep - deadlock!\n\ngoroutine 1 [chan receive]:\nmain.main()\n\t/app/main.go:5 +0x1\n\ngoroutine 2 [sleep]:\nmain.other()\n\t/app/main.go:9 +0x1\n",
        &["go fatal error: all goroutines are asleep - deadlock! | /app/main.go:5 main.main"],
    );
    check(
        &format!("panic: first\n\tpanic: second\n\n{stack}"),
        &["go panic: second | /app/main.go:7 main.main [panic: first]"],
    );
    check(
        &format!("panic: boom [recovered, repanicked]\n\n{stack}"),
        &["go panic: boom | /app/main.go:7 main.main"],
    );
    check(
        "SIGQUIT: quit\nPC=0x46 m=0 sigcode=0\n\ngoroutine 0 [idle]:\nruntime.futex(0x1)\n\t/usr/local/go/src/runtime/sys.s:1 +0x1\n\ngoroutine 1 [sleep]:\ntime.Sleep(0x1)\n\t/usr/local/go/src/runtime/time.go:1 +0x1\nmain.main()\n\t/app/main.go:5 +0x1\n\nrax    0x1\n",
        &["go SIGQUIT: quit | /app/main.go:5 main.main"],
    );
    check(
        "2026/01/01 recovered from panic: boom\ngoroutine 7 [running]:\nruntime/debug.Stack()\n\t/usr/local/go/src/runtime/debug/stack.go:24 +0x1\nmain.work()\n\t/app/main.go:5 +0x1\n",
        &["go panic: boom | /app/main.go:5 main.work"],
    );
    check(
        "goroutine 1 [running]:\nruntime/debug.Stack()\n\t/usr/local/go/src/runtime/debug/stack.go:24 +0x1\nmain.main()\n\t/app/main.go:5 +0x1\n",
        &[],
    );
    check("INFO panic: a word\nINFO more\nINFO goroutine pool of 7\n", &[]);
    check(
        "panic: boom\n\ngoroutine 7 [running]:\nmain.work(0x1)\n\t/app/main.go:5 +0x1\ncreated by main.main in goroutine 1\n\t/app/main.go:9 +0x1\n",
        &["go panic: boom | /app/main.go:5 main.work, /app/main.go:9 main.main"],
    );
}

#[test]
fn rust() {
    check(
        "thread 'tokio-runtime-worker' panicked at src/main.rs:5:9:\nboom\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\nworker failed\n",
        &["rust panic: boom | src/main.rs:5"],
    );
    check(
        "thread 'w' panicked at a.rs:1:1:\none\nthread 'w' panicked at a.rs:2:1:\ntwo\nnext\n",
        &["rust panic: one | a.rs:1", "rust panic: two | a.rs:2"],
    );
    check(
        "thread 'main' panicked at 'config:\n  line 1', src/main.rs:2:5\nnote: run with `RUST_BACKTRACE=1`\n",
        &["rust panic: config:\n  line 1 | src/main.rs:2"],
    );
    check(
        "\nthread 'main' (12) has overflowed its stack\nfatal runtime error: stack overflow, aborting\n",
        &["rust fatal runtime error: stack overflow, aborting | "],
    );
    check(
        "Error: loading\n\nCaused by:\n    0: reading x\n    1: No such file\n\nStack backtrace:\n   0: anyhow::error::new\n             at /root/.cargo/registry/src/anyhow/src/error.rs:1:2\n   1: app::load\n             at ./src/main.rs:7:5\n",
        &["rust Error: loading | ./src/main.rs:7 app::load [Error: reading x; Error: No such file]"],
    );
    check(
        "web-1  | thread 'main' panicked at src/main.rs:5:9:\nweb-1  | boom\nweb-1  | note: run with\n",
        &["rust panic: boom | src/main.rs:5"],
    );
    check("the chapter says who panicked at the disco\n", &[]);
}

#[test]
fn java() {
    check(
        "12:00 ERROR [main] c.e.App - failed\njava.lang.IllegalStateException: x\n\tat com.example.App.run(App.java:3) ~[app.jar:1.0]\n\tSuppressed: java.io.IOException: close\n\t\tat com.example.App.close(App.java:9)\n\t... 2 more\n12:00 INFO next\n",
        &[
            "java java.lang.IllegalStateException: x | App.java:3 com.example.App.run [java.io.IOException: close]",
        ],
    );
    check(
        "12:00 ERROR java.lang.RuntimeException: x\n\tat app//com.example.App.run(App.java:3)\n",
        &["java java.lang.RuntimeException: x | App.java:3 com.example.App.run"],
    );
    check(
        "Exception in thread \"main\" java.lang.OutOfMemoryError: Java heap space\n",
        &["java java.lang.OutOfMemoryError: Java heap space | "],
    );
    check(
        "com.acme.Boom: kaput\n\tat com.acme.A.b(A.kt:3)\ncom.acme.Boom: again\n\tat com.acme.A.c(A.kt:4)\n",
        &[
            "java com.acme.Boom: kaput | A.kt:3 com.acme.A.b",
            "java com.acme.Boom: again | A.kt:4 com.acme.A.c",
        ],
    );
    check(
        "{\"level\":\"ERROR\",\"stack_trace\":\"java.lang.RuntimeException: x\\n\\tat com.example.App.run(App.java:3)\\n\"}\n",
        &["java java.lang.RuntimeException: x | App.java:3 com.example.App.run"],
    );
}

#[test]
fn javascript() {
    check(
        "node:internal/process/promises:288\n            triggerUncaughtException(err, true /* fromPromise */);\n            ^\n\n[UnhandledPromiseRejection: This error originated either by throwing. The promise rejected with the reason \"boom\".] {\n  code: 'ERR_UNHANDLED_REJECTION'\n}\n\nNode.js v20.20.2\n",
        &[
            "javascript UnhandledPromiseRejection: This error originated either by throwing. The promise rejected with the reason \"boom\". | ",
        ],
    );
    check(
        "/srv/s.js:3\n  throw 'just text';\n  ^\njust text\n(Use `node --trace-uncaught ...` to show where the exception was thrown)\n\nNode.js v20.20.2\n",
        &["javascript -: just text | /srv/s.js:3"],
    );
    check(
        "(node:12) UnhandledPromiseRejectionWarning: Error: boom\n    at f (/srv/a.js:3:5)\n(node:12) UnhandledPromiseRejectionWarning: Unhandled promise rejection.\n",
        &["javascript Error: boom | /srv/a.js:3 f"],
    );
    check(
        "[AggregateError: All promises were rejected] {\n  [errors]: [\n    Error: one\n        at f (/srv/a.js:3:5),\n    TypeError: two\n        at g (/srv/a.js:4:5)\n  ]\n}\n",
        &[
            "javascript AggregateError: All promises were rejected | /srv/a.js:3 f [Error: one; TypeError: two]",
        ],
    );
    check(
        "Error: esm\n    at f (file:///srv/m.mjs:3:5)\n    at async file:///srv/m.mjs:9:1\n",
        &["javascript Error: esm | /srv/m.mjs:3 f, /srv/m.mjs:9"],
    );
    check(
        "request failed Error: boom\n    at f (/srv/a.ts:3:5)\n",
        &["typescript Error: boom | /srv/a.ts:3 f"],
    );
    check("Trace: here\n    at f (/srv/a.js:3:5)\nok\n", &[]);
    check(
        "FAIL ./a.test.js\n  ● adds › fails\n\n    Error: boom\n\n      at Object.<anonymous> (a.test.js:4:9)\n\nTests: 1 failed\n",
        &[],
    );
    check(
        "  1 passing\n  1 failing\n\n  1) adds:\n     Error: boom\n      at Context.<anonymous> (a.js:4:9)\n\n",
        &[],
    );
    check(
        "web  | Error: a\nweb  |     at f (/srv/a.js:3:5)\ndb   | ready\nweb  |     at g (/srv/a.js:4:5)\n",
        &["javascript Error: a | /srv/a.js:3 f, /srv/a.js:4 g"],
    );
}

#[test]
fn hostile_logs_do_no_harm() {
    let long = format!("{}Traceback (most recent call last):\n", "x".repeat(200_000));
    check(&long, &[]);
    check(&"panic: x\n".repeat(2000), &[]);
    check(&"Traceback (most recent call last):\n".repeat(2000), &[]);
    check(&format!("{}\n", "    at ".repeat(5000)), &[]);
    check(&format!("{}Traceback (most recent call last):\\n\n", "\"".repeat(5000)), &[]);
    check(&"goroutine 1 [running]:\n".repeat(500), &[]);
    check("\u{0}\u{1}\u{1b}[\u{1b}]\u{1b}", &[]);
}
