"""Where etcd's flags are given: command line, variables, configuration file. The outcome is text by name of flag."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from core.etcd_name.flags import FLAGS

CONFIG_FILE = "config-file"
HELP = "help"
_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")
_OTHER_VARIABLES = frozenset({"ETCD_UNSUPPORTED_ARCH"})
_SECTIONS = {"client-transport-security": "", "peer-transport-security": "peer-"}


class UsageError(Exception):
    """Flags that cannot be used; the text is for people."""


class Given(msgspec.Struct, frozen=True):
    """Values by flag, each with the place it was given at, and what to warn of."""

    values: dict[str, str]
    places: dict[str, str]
    warnings: tuple[str, ...] = ()


def read(arguments: Sequence[str], environ: Mapping[str, str]) -> Given:
    """What counts of all that is given. UsageError."""
    flags = parse(arguments)
    file = flags.get(CONFIG_FILE) or environ.get(FLAGS[CONFIG_FILE].variable, "")
    if file and HELP not in flags and flags.get("version") != "true":
        return from_file(Path(file))
    values, places, warnings = dict[str, str](), dict[str, str](), list[str]()
    known = {flag.variable: flag for flag in FLAGS.values()}
    for variable, text in environ.items():
        flag = known.get(variable)
        if flag is not None and text != "":
            if flag.name in flags:
                warnings.append(f"the flag --{flag.name} counts, and not the variable {variable}")
            values[flag.name] = _boolean(text, variable) if flag.boolean else text
            places[flag.name] = variable
        elif flag is None and variable.startswith("ETCD_") and variable not in _OTHER_VARIABLES:
            warnings.append(f"the variable {variable} means nothing to etcd")
    for name, text in flags.items():
        values[name], places[name] = text, f"--{name}"
    return Given(values, places, tuple(warnings))


def parse(arguments: Sequence[str]) -> dict[str, str]:
    """The values of flags by name, as Go's flag package reads them. UsageError."""
    found: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--" or not word.startswith("-") or word == "-":
            left = rest if word == "--" else [word]
            if left:
                raise UsageError(f"{left[0]!r} is not a valid flag; flags begin with a dash")
            break
        name, mark, text = word.removeprefix("-").removeprefix("-").partition("=")
        if name in ("h", HELP):
            found[HELP] = "true"
            continue
        if not name or name.startswith("-"):
            raise UsageError(f"bad flag syntax: {word}")
        flag = FLAGS.get(name)
        if flag is None:
            raise UsageError(f"flag provided but not defined: -{name}")
        if flag.boolean:
            found[name] = _boolean(text if mark else "true", f"--{name}")
        elif mark:
            found[name] = text
        elif rest:
            found[name] = rest.pop(0)
        else:
            raise UsageError(f"flag needs an argument: -{name}")
    return found


def from_file(path: Path) -> Given:
    """The flags in a YAML file. UsageError."""
    try:
        content = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise UsageError(f"the configuration file {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"the configuration file {path} is not valid YAML: {' '.join(str(error).split())}") from None
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise UsageError(f"the configuration file {path} must hold names and values")
    values, places, warnings = dict[str, str](), dict[str, str](), list[str]()
    for key, prefix, value in _entries(content):
        name = f"{prefix}{key}"
        if name not in FLAGS or name in (CONFIG_FILE, "version"):
            warnings.append(f"{path}: {key} means nothing to etcd")
        elif value is not None:
            text = _text(value, f"{path}, {key}")
            values[name] = _boolean(text, f"{path}, {key}") if FLAGS[name].boolean else text
            places[name] = f"{path}, {key}"
    warnings.insert(0, f"the configuration is that of {path}; other flags and variables are ignored")
    return Given(values, places, tuple(warnings))


def _entries(content: dict[Any, Any]) -> list[tuple[str, str, Any]]:
    """(key, prefix of its flag, value) of a file: TLS has a section for clients and one for members."""
    found: list[tuple[str, str, Any]] = []
    for key, value in content.items():
        prefix = _SECTIONS.get(key)
        if prefix is None:
            found.append((str(key), "", value))
        elif isinstance(value, dict):
            found += [(str(inner), prefix, each) for inner, each in value.items()]
    return found


def _text(value: Any, place: str) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str() | int() | float():
            return str(value)
        case list() if all(isinstance(part, str) for part in value):
            return ",".join(value)
    raise UsageError(f"{place}: a text, a number, true or false is expected")


def _boolean(text: str, place: str) -> str:
    if text in _TRUE:
        return "true"
    if text in _FALSE:
        return "false"
    raise UsageError(f"invalid boolean value {text!r} for {place}; write true or false")
