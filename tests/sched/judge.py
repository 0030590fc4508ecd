"""Debian's systemd as a judge: what it makes of unit files, time spans and escaped names."""

import os
import subprocess
from pathlib import Path

CONTROL = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def dump(directory: Path, units: dict[str, bytes]) -> dict[str, list[str]]:
    """What systemd read from each unit: the lines of its own description, without their indentation."""
    paths = []
    for name, data in units.items():
        path = directory / name
        path.write_bytes(data)
        paths.append(str(path))
    done = subprocess.run(
        ("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *paths),
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "debug"},
        capture_output=True,
        timeout=60,
    )
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in done.stdout.decode(errors="replace").splitlines():
        text = line.strip()
        if text.startswith("-> Unit "):
            lines = found[text.removeprefix("-> Unit ").removesuffix(":")] = []
        else:
            lines.append(text)
    return found


def values(lines: list[str], name: str) -> list[str]:
    return [line.removeprefix(f"{name}: ") for line in lines if line.startswith(f"{name}: ")]


def unquote(line: str) -> list[str]:
    """The words of a command line as systemd shows it: blanks between, double quotes and backslashes where needed."""
    found, word, inside, escaped = [], "", False, False
    for letter in line:
        if escaped:
            word, escaped = word + CONTROL.get(letter, letter), False
        elif letter == "\\" and inside:
            escaped = True
        elif letter == '"':
            inside = not inside
        elif letter == " " and not inside:
            found.append(word)
            word = ""
        else:
            word += letter
    return [*found, word]


def microseconds(span: str) -> int | None:
    """A time span as systemd reads it; None if it is none."""
    done = subprocess.run(("systemd-analyze", "timespan", "--", span), capture_output=True, text=True, timeout=20)
    lines = [line for line in done.stdout.splitlines() if "μs:" in line]
    return int(lines[0].rpartition(":")[2]) if done.returncode == 0 and lines else None


def escape(*options: str) -> list[str]:
    done = subprocess.run(("systemd-escape", *options), capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.rstrip("\n").split(" ")
