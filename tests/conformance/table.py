"""Reads the case files: text to values. The form is described in the package's docstring."""

import re
from dataclasses import dataclass, field
from pathlib import Path

CASES = Path(__file__).parent / "cases"

_REQUEST = re.compile(r"(?:(?P<watch>\w+) = )?(?P<method>[A-Z]+) (?P<target>\S+)(?: (?P<form>.*))?$")
_WATCH = re.compile(r"(?P<watch>\w+) (?P<what>gives|ends)(?: (?P<action>\w+))?$")
_ONLY = re.compile(r"(?P<kind>etcd|corenode): (?P<rest>.*)$")
_HEADER = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9-]*): (?P<value>.*)$")
_STATUS = re.compile(r"\d{3}( |$)")
_NODE = re.compile(r"(?P<name>node|prevNode) (?P<json>\{.*\})$")


class CaseSyntaxError(Exception):
    """A case file does not follow the form; the text names file and line."""


@dataclass
class Answer:
    """What must come back: status (0: an event of a watch), the words after it, nodes by name, headers."""

    status: int = 0
    body: str = "*"
    nodes: dict[str, str] = field(default_factory=dict)
    headers: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Step:
    """One request, one event of an open watch, or the end of one. `answers` has the key `` or a server's name."""

    line: int
    watch: str
    what: str
    """`request`, `open`, `gives` or `ends`."""
    method: str = ""
    target: str = ""
    form: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    only: str = ""
    """The one server this step is for; empty: both."""

    def answer(self, kind: str) -> Answer:
        """What this server must answer."""
        return self.answers[kind] if kind in self.answers else self.answers[""]


@dataclass
class Case:
    """One independent story of a few steps."""

    file: str
    title: str
    remarks: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.file}: {self.title}"

    def differs(self) -> bool:
        """Whether the two servers are expected to answer differently somewhere."""
        return any(step.only or any(step.answers) for step in self.steps)


def read(file: Path) -> list[Case]:
    """The cases of one file. CaseSyntaxError names the line that is wrong."""
    cases: list[Case] = []
    kind = ""
    for number, line in enumerate(file.read_text().split("\n"), 1):
        text = line.strip()
        try:
            if not text:
                continue
            if text.startswith("## "):
                cases.append(Case(file.stem, text[3:]))
            elif text.startswith("#"):
                cases[-1].remarks.append(text[1:].strip())
            elif not line.startswith(" "):
                cases[-1].steps.append(_step(number, text))
                kind = ""
            else:
                kind = _detail(cases[-1].steps[-1], text, kind)
        except (IndexError, ValueError) as error:
            raise CaseSyntaxError(f"{file.name}:{number}: {error}: {line}") from None
    for case in cases:
        for step in case.steps:
            _finish(step, file)
    return cases


def _finish(step: Step, file: Path) -> None:
    """CaseSyntaxError if nothing is expected of a step."""
    if "" not in step.answers and step.only not in step.answers:
        raise CaseSyntaxError(f"{file.name}:{step.line}: says not what must come back")


def read_all() -> list[Case]:
    """Every case of every file."""
    return [case for file in sorted(CASES.glob("*.txt")) for case in read(file)]


def _step(line: int, text: str) -> Step:
    if match := _ONLY.match(text):
        step = _step(line, match["rest"])
        step.only = match["kind"]
        return step
    if match := _WATCH.match(text):
        step = Step(line, match["watch"], match["what"])
        step.answers[""] = Answer(body=match["action"] or "empty")
        return step
    if match := _REQUEST.match(text):
        what = "open" if match["watch"] else "request"
        return Step(line, match["watch"] or "", what, match["method"], match["target"], match["form"] or "")
    raise ValueError("neither a request nor an event of a watch")


def _detail(step: Step, text: str, kind: str) -> str:
    """Add one indented line to a step; gives the server the lines below are for."""
    if text.startswith("< "):
        name, _, value = text[2:].partition(": ")
        step.headers.append((name, value))
        return kind
    if match := _ONLY.match(text):
        kind, text = match["kind"], match["rest"]
    if _STATUS.match(text):
        step.answers[kind] = Answer(int(text[:3]), text[4:] or "*")
        return kind
    if kind not in step.answers:
        if step.what != "gives" or not text.isalpha():
            raise ValueError("an answer begins with its status")
        step.answers[kind] = Answer(body=text)
        return kind
    answer = step.answers[kind]
    if match := _NODE.match(text):
        answer.nodes[match["name"]] = match["json"]
    elif match := _HEADER.match(text):
        answer.headers.append((match["name"], match["value"]))
    else:
        raise ValueError("not understood")
    return kind
