"""Reads the case files: text to values. The form is described in the package's docstring."""

import re
from dataclasses import dataclass, field
from pathlib import Path

CASES = Path(__file__).parent / "cases"
_STEP = re.compile(
    r"(?:(?P<keep>\w+) = )?(?:(?P<token>\S+)> )?(?P<admin>admin )?(?P<raw>raw )?(?:(?P<method>GET|PUT|HEAD|DELETE) )?"
    r"(?P<path>[a-z0-9/-]+)(?: (?P<body>.*))?$"
)
_DIFFERS = re.compile(r"differs (?P<status>\d{3})(?: (?P<code>\d+))?: (?P<why>.+)$")
PREFIXES = ("v3/", "v3beta/", "v3alpha/")


class CaseSyntaxError(Exception):
    """A case file does not follow the form; the text names file and line."""


@dataclass
class Step:
    """One request."""

    line: int
    method: str
    path: str
    """Below `/v3/`."""
    target: str
    body: str
    raw: bool
    admin: bool
    token: str
    keep: str
    status: int = 0
    """What this node answers instead of etcd's answer; 0: the same."""
    code: int | None = None
    about: frozenset[str] = frozenset()


@dataclass
class Case:
    """One story."""

    file: str
    title: str
    about: frozenset[str] = frozenset()
    steps: list[Step] = field(default_factory=list)


def read(file: Path) -> list[Case]:
    """The cases of one file. CaseSyntaxError names the line that is wrong."""
    cases: list[Case] = []
    for number, line in enumerate(file.read_text().split("\n"), 1):
        text = line.strip()
        try:
            if text.startswith("## "):
                cases.append(Case(file.stem, text[3:]))
            elif not text or text.startswith("#"):
                continue
            elif text.startswith("about: ") and not line.startswith(" "):
                cases[-1].about = frozenset(text[7:].split())
            elif line.startswith(" "):
                _remark(cases[-1].steps[-1], text)
            else:
                cases[-1].steps.append(_step(number, text, cases[-1].about))
        except (IndexError, ValueError) as error:
            raise CaseSyntaxError(f"{file.name}:{number}: {error}: {line}") from None
    return cases


def read_all() -> list[Case]:
    """Every case of every file."""
    return [case for file in sorted(CASES.glob("*.txt")) for case in read(file)]


def _step(line: int, text: str, about: frozenset[str]) -> Step:
    found = _STEP.match(text)
    if found is None:
        raise ValueError("no request")
    path = found["path"]
    prefix = next((each for each in PREFIXES if path.startswith(each)), "")
    target = f"/{path}" if prefix else f"/v3/{path}"
    return Step(
        line,
        found["method"] or "POST",
        path.removeprefix(prefix),
        target,
        found["body"] or "",
        bool(found["raw"]),
        bool(found["admin"]),
        found["token"] or "",
        found["keep"] or "",
        about=about,
    )


def _remark(step: Step, text: str) -> None:
    if text.startswith("about: "):
        step.about |= frozenset(text[7:].split())
    elif found := _DIFFERS.match(text):
        step.status = int(found["status"])
        step.code = int(found["code"]) if found["code"] else None
    else:
        raise ValueError("not understood")
