"""Unit files, command lines, time spans and escapes are read as Debian's systemd reads them."""

import random
from pathlib import Path

import pytest

from core.sched import commands, names, specifiers, unit_text, values
from core.sched.specifiers import Context, SpecifierError
from tests.sched import judge

PIECES = [
    "a",
    "b c",
    "  ",
    '"',
    "'",
    "\\",
    "\\\\",
    "\\x41",
    "\\u00e9",
    "\\101",
    "\\s",
    "\\q",
    ";",
    "\\;",
    " ; /bin/false ",
]
PIECES += ["%i", "%%", "%I", "%p", "$A", "x=y", "é", "#", "-", "@", ":", "\\\n", "\\\n# between\n", "\\\n; too\n  "]


def unit(chance: random.Random) -> bytes:
    """A service with comments, continuations, resets and odd ends of lines."""
    line = "".join(chance.choice(PIECES) for _ in range(chance.randint(0, 8)))
    words = "".join(chance.choice(PIECES) for _ in range(chance.randint(0, 6)))
    marks = chance.choice(["", "-", "@", ":", "+", "!", "!!", "-:", "+-", "-@"])
    lines = [
        "# first",
        chance.choice(["[Unit]", " [Unit] ", "[Unit]\n;x"]),
        chance.choice(["Description=d", "Description = d \\\n  more", "Description=\\\n\\\nlate"]),
        "[Service]",
        "Type=oneshot",
        f"Environment={words}",
        chance.choice(["", "Environment=", "Environment=Z=1 'Y=2 3'"]),
        "ExecStart=/bin/true first",
        chance.choice(["", "ExecStart="]),
        f"ExecStart={marks}/bin/echo {line}",
        "",
    ]
    return chance.choice(["\n", "\n", "\r\n", "\r"]).join(lines).encode()


def ours(name: str, data: bytes) -> dict[str, list[list[str]] | list[str]]:
    """What we read, in the order in which systemd shows it."""
    text = unit_text.parse(data)
    context = Context(names.parse(name))

    def expand(word: str) -> str:
        return specifiers.expand(word, context)

    vectors: list[list[str]] = []
    environment: dict[str, str] = {}
    for line in text.all("Service", "ExecStart"):
        try:
            vectors += [list(command.arguments) for command in commands.commands(line, expand)]
        except (commands.CommandError, SpecifierError):
            return {}  # the whole line counts for nothing there, and for a refusal here
    for line in text.all("Service", "Environment"):
        try:
            environment |= dict(commands.assignments(line, expand))
        except (commands.CommandError, SpecifierError):
            return {}
    return {
        "Command Line": vectors,
        "Environment": [f"{key}={value}" for key, value in environment.items()],
        "Description": [expand(text.last("Unit", "Description") or "")],
    }


@pytest.mark.parametrize("seed", range(4))
def test_random_services_are_read_as_systemd_reads_them(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    units = {f"t-{number}@i\\x2d{number}.service": unit(chance) for number in range(40)}
    read = judge.dump(tmp_path, units)
    compared = 0
    for name, data in units.items():
        mine = ours(name, data)
        if not mine or name not in read:
            continue
        theirs = read[name]
        assert [judge.unquote(line) for line in judge.values(theirs, "Command Line")] == mine["Command Line"], data
        assert sorted(judge.values(theirs, "Environment")) == sorted(map(str, mine["Environment"])), data
        assert judge.values(theirs, "Description") == mine["Description"], data
        compared += 1
    assert compared > 10


SPANS = [
    "1min 20s",
    "1.5",
    "5 .5s",
    "infinity",
    " infinity ",
    "+3s",
    "1y 2M",
    "90",
    "1h30m",
    "500ms",
    "2us",
    "0",
    ".5",
    "3d4h",
]
NO_SPANS = ["", "x", "-1", "1 -1", "12.34.56", "3.sec", "3. 1", "1sx", "infinityx", "s", "1 2 x", "99999999999y", "."]


@pytest.mark.parametrize("span", [*SPANS, *NO_SPANS])
def test_a_time_span_is_what_systemd_says_it_is(span: str) -> None:
    expected = judge.microseconds(span)
    if expected is None:
        with pytest.raises(values.ValueFormError):
            values.time_span(span)
    elif expected == 2**64 - 1:
        assert values.time_span(span) == float("inf")
    else:
        assert round(values.time_span(span) * 1_000_000) == expected


def test_texts_and_paths_are_escaped_as_systemd_escapes_them() -> None:
    chance = random.Random(7)
    texts = ["".join(chance.choice("ab/.-_: é\\@") for _ in range(chance.randint(1, 9))) for _ in range(200)]
    texts = [text for text in texts if not text.startswith("-")]
    escaped = [specifiers.escape(text) for text in texts]
    assert escaped == judge.escape("--", *texts)
    assert [specifiers.unescape(text) for text in escaped] == texts
    paths = ["/", "/a//b/./c/", "/srv/my data", "/.hidden", "a/b"]
    assert [specifiers.escape_path(path) for path in paths] == judge.escape("--path", "--", *paths)
    assert specifiers.unescape_path(specifiers.escape_path("/srv/my data")) == "/srv/my data"


def test_what_cannot_be_escaped_or_unescaped_is_refused() -> None:
    with pytest.raises(SpecifierError):
        specifiers.escape_path("/a/../b")
    with pytest.raises(SpecifierError):
        specifiers.unescape("a\\xZZ")
