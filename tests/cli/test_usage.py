"""Help, wrong usage and start-up: without a node."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli import cli

ROOT = Path(__file__).parents[2]


def _verbs(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _verbs(found, (*path, name))
    yield path, command


VERBS = dict(_verbs(cli))


def _run(*words: str, stdin: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), *words],
        input=stdin,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", **environment},
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("path", VERBS, ids=" ".join)
def test_every_verb_has_help_with_an_example(path: tuple[str, ...]) -> None:
    done = CliRunner().invoke(cli, [*path, "--help"], prog_name="corenode")
    assert done.exit_code == 0
    assert f"  corenode {path[0] if path else 'up'}" in done.output
    assert "Example" in done.output
    assert f"corenode {' '.join(path)}".strip() in done.output.partition("Example")[2]


def test_every_reading_verb_takes_an_output_form() -> None:
    for path in (
        ("kv", "get"),
        ("kv", "ls"),
        ("kv", "watch"),
        ("status",),
        ("health",),
        ("version",),
        ("snapshot", "status"),
    ):
        [option] = [each for each in VERBS[path].params if each.name == "output_"]
        assert isinstance(option.type, click.Choice)
        assert "json" in option.type.choices


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["kv", "--help"], ["kv", "get", "--help"], ["kv", "gte"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; sys.argv[0] = 'corenode'\n"
        "import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'trio', 'rich', 'lmdb', 'cryptography', 'httpcore', 'msgspec', 'ssl', 'h11'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "HEAVY []"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["frobnicate"], "No such command 'frobnicate'. There are: up, demo, join, kv,"),
        (["kv", "gte"], "Did you mean get?"),
        (["kv", "get"], "Missing argument 'KEY'."),
        (["kv", "get", "--qourum", "/a"], "No such option '--qourum'"),
        (["kv", "put", "--ttl", "zz", "/a", "b"], "--ttl: 'zz' is no number of seconds; try --ttl 60."),
        (["kv", "put", "--ttl", "1m", "/a", "b"], "--ttl: '1m' is no number of seconds; try --ttl 60."),
        (["kv", "mk", "--ttl", "0", "/a", "b"], "--ttl: '0' seconds is no time to live; try --ttl 60."),
        (["kv", "--endpoints", "nonsense://x", "get", "/a"], "does not begin with http:// or https://"),
        (["--endpoints", "http://127.0.0.1:1", "up"], "No such option '--endpoints'"),
        (["kv", "--qourum", "get", "/a"], "No such option '--qourum'"),
        (["kv", "put", "--dir", "/a", "b"], "A directory has no value"),
        (["kv", "mk", "--dir", "--in-order", "/a"], "--in-order makes keys, not directories"),
        (["kv", "get", "/a", "--endpoints", "nonsense://x"], "does not begin with http:// or https://"),
        (["kv", "get", "/a", "--endpoints", "https://127.0.0.1:1", "--cert", "x"], "--cert and --key belong together."),
        (["up", "--listen-client-urls", "http://192.0.2.1:1"], "add --allow-plain-http if you mean it"),
        (["up", "--config", "/no/such/file"], "/no/such/file cannot be read: No such file or directory."),
        (["snapshot", "restore", "x"], "Missing option '--data-dir'."),
        (["completion", "tcsh"], "'tcsh' is not one of 'bash', 'zsh', 'fish'."),
    ],
)
def test_wrong_usage_is_two_lines_and_exit_2(words: list[str], sentence: str) -> None:
    done = _run(*words)
    assert sentence in done.stderr
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 2)
    assert "Help: corenode" in done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["kv", "get", "/a", "--endpoints", "unix:///no/such/file"],
            "No node answers (unix:///no/such/file: No such file",
        ),
        (
            ["kv", "get", "/a", "--endpoints", "https://127.0.0.1:1", "--cacert", "/nope"],
            "/nope: cannot read the CA file",
        ),
        (["snapshot", "verify", "/no/such/file"], "/no/such/file: No such file or directory."),
        (["snapshot", "save", "/dev/null"], "/dev/null exists already"),
        (
            ["snapshot", "restore", str(ROOT / "cli.py"), "--data-dir", "/no/such/directory"],
            "not a snapshot of corenode",
        ),
        (["kv", "watch", "/a", "--", "no-such-program"], "There is no program 'no-such-program' to run."),
    ],
)
def test_failure_is_exit_1_without_a_traceback(words: list[str], sentence: str, tmp_path: Path) -> None:
    done = _run(*words, XDG_RUNTIME_DIR=str(tmp_path))
    assert sentence in done.stderr
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) <= 2


def test_a_value_that_is_no_text() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), "kv", "put", "/a"],
        input=b"\xff",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert b"not UTF-8" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    done = _run("completion", shell)
    assert done.returncode == 0
    assert "_CORENODE_COMPLETE" in done.stdout
    words = {"COMP_WORDS": "corenode kv wa", "COMP_CWORD": "wa" if shell == "fish" else "2"}
    assert "watch" in _run(**words, _CORENODE_COMPLETE=f"{shell}_complete").stdout


def test_version() -> None:
    done = _run("--version")
    assert done.stdout.startswith("corenode, version ")


FILES_FIRST = {
    ("ca", "rotate"),
    ("image", "package"),
    ("image", "publish"),
    ("image", "trust", "download"),
    ("image", "trust", "upload"),
}
"""They look for their files before they look at the connection."""
CONNECTED = [
    path
    for path, verb in VERBS.items()
    if path not in FILES_FIRST and any("--endpoints" in option.opts for option in verb.params)
]


@pytest.mark.parametrize("path", CONNECTED, ids=" ".join)
def test_options_of_the_connection_may_stand_before_any_word(path: tuple[str, ...], tmp_path: Path) -> None:
    """Whatever the verb then says of its arguments, it has taken the option."""
    taken = []
    for place in range(len(path) + 1):
        words = [*path[:place], "--endpoints", "nonsense://x", "--timeout=3", *path[place:]]
        file = tmp_path / f"{place}"
        special = {"snapshot save": [str(file)], "ca revoke": ["a1"], "kv compact": ["1"], "bench": ["put"]}
        arguments = special.get(" ".join(path), [])
        count = sum(isinstance(param, click.Argument) and param.required for param in VERBS[path].params)
        arguments = arguments or ["/a"] * count
        if path[0] == "role" and path[-1] in ("grant", "revoke"):
            arguments += ["--read", "/a"]
        if path in (("kv", "put"), ("kv", "mk"), ("kv", "update")):
            arguments += ["value"]
        if path[:2] == ("kv", "lease") or path in (("lock", "set-max"), ("lock", "set-expiry")):
            arguments = ["60"] * len(arguments)
        if path == ("update", "channel", "set"):
            arguments += ["--version", "1.0"]
        if path[:2] == ("update", "group"):
            arguments = ["web"] * len(arguments)
        if path[:2] == ("update", "channel"):
            arguments = ["beta" if each == "/a" else each for each in arguments]
        if path == ("image", "package"):
            file.write_bytes(b"opaque")
            arguments = [str(file), *arguments[1:]]
        if path == ("unit", "scale"):
            arguments = ["web@.service", "2"]
        if path in (("unit", "verify"), ("unit", "rollout", "start")):
            file.write_text("[Service]\nExecStart=/bin/true\n")
            arguments = [*arguments[:-1], str(file)]
        if path in (("member", "add"), ("member", "update")):
            arguments += ["--peer-urls", "http://127.0.0.1:1"]
        done = CliRunner().invoke(cli, [*words, *arguments], prog_name="corenode", input="x\nx\n")
        taken.append((done.exit_code, "does not begin with http://" in done.output))
    assert taken == [(2, True)] * (len(path) + 1)


def test_what_stands_behind_the_verb_counts() -> None:
    done = _run("kv", "--endpoints", "nonsense://x", "get", "/a", "--endpoints", "unix:///no/such/file")
    assert "No node answers (unix:///no/such/file: No such file" in done.stderr
    done = _run("kv", "--endpoints", "unix:///no/such/file", "--", "get", "/a")
    assert "No node answers (unix:///no/such/file: No such file" in done.stderr
    help_ = _run("kv", "--endpoints", "nonsense://x", "--help")
    assert (help_.returncode, help_.stdout) == (0, _run("kv", "--help").stdout)
    assert _run("kv", "--endpoints", "nonsense://x").stderr == _run("kv").stderr
