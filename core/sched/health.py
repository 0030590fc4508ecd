"""Health checks of a unit: `Health=` in [X-Fleet], once for each check; all of them must pass.

    Health=http://127.0.0.1:8080/ready interval=10s timeout=5s retries=3 start=30s
    Health=tcp://127.0.0.1:5432
    Health=interval=1min exec:/usr/bin/pg_isready -q

It stands beside the other words on placement, because systemd leaves a section that begins with X- alone. Options
precede or follow the target; behind `exec:` all that follows is the command. The host the unit runs on does the check.
"""

from typing import Literal
from urllib.parse import urlsplit

import msgspec

from core.sched import commands, values, words

MAX_RETRIES = 100


class HealthError(ValueError):
    """This is no health check; the text says why."""


class Health(msgspec.Struct, frozen=True):
    """One check and how often it is made. Times are seconds."""

    kind: Literal["http", "tcp", "exec"]
    target: str
    """The URL; `host:port`; or the command line."""
    command: tuple[str, ...] = ()
    """The argument vector, of `exec`."""
    interval: float = 10.0
    timeout: float = 5.0
    """For one check."""
    retries: int = 3
    """How many checks in a row must fail before the unit counts as unhealthy."""
    start: float = 30.0
    """How long after its start failures do not count, until a check passed."""


def parse(text: str) -> Health:
    """The check in one line. HealthError with a sentence for people."""
    options: dict[str, str] = {}
    target = ""
    at = 0
    try:
        while True:
            begin = at
            word, at = words.next_word(text, at)
            if word is None:
                break
            if word.startswith("exec:"):
                if target:
                    raise HealthError(f"{text!r} has two targets; write a Health= line for each")
                return _exec(text[begin:].lstrip().removeprefix("exec:"), options)
            if "://" in word and "=" not in word.partition("://")[0]:
                if target:
                    raise HealthError(f"{text!r} has two targets; write a Health= line for each")
                target = word
            else:
                name, _, value = word.partition("=")
                options[name] = value
    except words.WordError as error:
        raise HealthError(str(error)) from None
    return _network(text, target, options)


def _exec(line: str, options: dict[str, str]) -> Health:
    try:
        found = commands.commands(line)
    except commands.CommandError as error:
        raise HealthError(str(error)) from None
    if len(found) != 1 or not found[0].path.startswith("/"):
        raise HealthError("behind exec: stands one command with its whole path, such as exec:/usr/bin/pg_isready -q")
    return _with(Health("exec", line.strip(), found[0].arguments), options)


def _network(text: str, target: str, options: dict[str, str]) -> Health:
    if not target.isascii() or not target.isprintable() or " " in target:
        raise HealthError(f"{target!r} has characters that no URL has; write them as %XX")
    try:
        parts = urlsplit(target)
    except ValueError as error:
        raise HealthError(f"{target!r} is no URL: {error}") from None
    try:
        port = parts.port
    except ValueError:
        raise HealthError(f"the port in {target!r} is not a number from 0 to 65535") from None
    if parts.scheme == "http":
        return _with(Health("http", target if parts.hostname else f"http://127.0.0.1{target[7:]}"), options)
    if parts.scheme == "tcp":
        if port is None or parts.path not in ("", "/"):
            raise HealthError(f"{target!r} is not tcp:// with a host and a port, such as tcp://127.0.0.1:5432")
        host = parts.hostname or "127.0.0.1"
        return _with(Health("tcp", f"[{host}]:{port}" if ":" in host else f"{host}:{port}"), options)
    raise HealthError(
        f"{text!r} names nothing to check; write http://127.0.0.1:8080/, tcp://127.0.0.1:80 or exec:/path"
    )


def _with(health: Health, options: dict[str, str]) -> Health:
    for name, value in options.items():
        try:
            match name:
                case "retries":
                    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= MAX_RETRIES):
                        raise HealthError(f"retries={value}: a number from 1 to {MAX_RETRIES} is needed")
                    health = msgspec.structs.replace(health, retries=int(value))
                case "interval" | "timeout" | "start":
                    seconds = values.time_span(value)
                    if seconds > 86_400 or (seconds <= 0 and name != "start"):
                        raise HealthError(f"{name}={value}: a time above zero and of at most a day is needed")
                    health = msgspec.structs.replace(health, **{name: seconds})
                case _:
                    raise HealthError(f"{name!r} is no option of Health=; there are interval, timeout, retries, start")
        except values.ValueFormError as error:
            raise HealthError(f"{name}: {error}") from None
    return health
