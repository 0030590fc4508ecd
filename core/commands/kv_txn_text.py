"""A transaction as text, in the form of etcdctl's txn."""

import argparse
import re
import shlex
from collections.abc import Callable
from typing import NoReturn, TypeVar

from core.client import Compare, Delete, Keys, Operation, Put, Range, Txn, from_key, prefix
from core.client.values import Relation, Target

T = TypeVar("T")

_CONDITION = re.compile(r"(\w+)\((.*)\)\s*(=|!=|<|>)\s*(.*)")
_TARGETS: dict[str, Target] = {
    "value": "value", "val": "value",
    "version": "version", "ver": "version",
    "create": "create", "c": "create",
    "mod": "mod", "m": "mod",
    "lease": "lease",
}  # fmt: skip
_RELATIONS: dict[str, Relation] = {"=": "=", "!=": "!=", "<": "<", ">": ">"}


class NotATransactionError(ValueError):
    """The text is none; it says which line, and why."""


class _Words(argparse.ArgumentParser):
    """The words of one operation."""

    def __init__(self, name: str) -> None:
        super().__init__(prog=name, add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise NotATransactionError(message)


def _id(text: str) -> int:
    return int(text, 16)


def _put() -> _Words:
    words = _Words("put")
    words.add_argument("key")
    words.add_argument("value")
    words.add_argument("--lease", type=_id, default=0)
    words.add_argument("--prev-kv", action="store_true")
    return words


def _ranged(name: str) -> _Words:
    words = _Words(name)
    words.add_argument("key")
    words.add_argument("end", nargs="?")
    words.add_argument("--prefix", action="store_true")
    words.add_argument("--from-key", action="store_true")
    return words


def _get() -> _Words:
    words = _ranged("get")
    words.add_argument("--limit", type=int, default=0)
    words.add_argument("--rev", type=int, default=0)
    words.add_argument("--keys-only", action="store_true")
    words.add_argument("--count-only", action="store_true")
    return words


def _del() -> _Words:
    words = _ranged("del")
    words.add_argument("--prev-kv", action="store_true")
    return words


def parse(text: str) -> Txn:
    """The transaction in `text`. NotATransactionError."""
    parts: list[list[tuple[int, str]]] = [[], [], []]
    part = 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            parts[part].append((number, line.strip()))
        elif part < 2:
            part += 1
        elif parts[2]:
            break
    compare = tuple(_at(number, _condition, line) for number, line in parts[0])
    then = tuple(_at(number, _operation, line) for number, line in parts[1])
    return Txn(compare, then, tuple(_at(number, _operation, line) for number, line in parts[2]))


def _at(number: int, read: Callable[[str], T], line: str) -> T:
    try:
        return read(line)
    except ValueError as error:
        raise NotATransactionError(f"line {number} ({line}): {error}") from None


def _condition(line: str) -> Compare:
    found = _CONDITION.fullmatch(line)
    if found is None:
        raise NotATransactionError('it is no condition; write it like mod("/key") > "0"')
    target = _TARGETS.get(found[1].lower())
    if target is None:
        raise NotATransactionError(f"{found[1]!r} cannot be compared; there are value, version, create, mod, lease")
    words = shlex.split(found[2]), shlex.split(found[4])
    if [len(each) for each in words] != [1, 1]:
        raise NotATransactionError("a key or an operand with spaces goes in quotes")
    [key], [operand] = words
    if target == "value":
        return Compare(key.encode(), target, _RELATIONS[found[3]], operand.encode())
    return Compare(key.encode(), target, _RELATIONS[found[3]], _id(operand) if target == "lease" else int(operand))


def _operation(line: str) -> Operation:
    name, *words = shlex.split(line)
    if name == "put":
        put = _put().parse_args(words)
        return Put(put.key.encode(), put.value.encode(), put.lease, put.prev_kv)
    if name == "get":
        get = _get().parse_args(words)
        return Range(_keys(get), get.limit, get.rev, keys_only=get.keys_only, count_only=get.count_only)
    if name == "del":
        delete = _del().parse_args(words)
        return Delete(_keys(delete), delete.prev_kv)
    raise NotATransactionError(f"{name!r} is no operation; there are put, get and del")


def _keys(words: argparse.Namespace) -> bytes | Keys:
    key = words.key.encode()
    if words.prefix:
        return prefix(key)
    if words.from_key:
        return from_key(key)
    return key if words.end is None else Keys(key, words.end.encode())
