"""Splitting a value into words as systemd does: quotes, C escapes, white space.

Bytes that are not UTF-8, which an escape such as `\\xff` makes, are kept as Python keeps them in file names
(surrogateescape).
"""

import re

WHITE = " \t\n\r"
SHOWN = 200
"""Letters of a value that an error repeats."""
_ESCAPES = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, '"': 34, "'": 39, "s": 32}
_CODED = re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([0-7]{3})")
_PLAIN = re.compile(r"""[^"'\\ \t\n\r]+""")
_PLAIN_WORD = re.compile(r"""([^"'\\ \t\n\r]+)(?:[ \t\n\r]+|\Z)""")
_BLANKS = re.compile(r"[ \t\n\r]*")
_QUOTED = {'"': re.compile(r'[^"\\]+'), "'": re.compile(r"[^'\\]+")}


class WordError(ValueError):
    """A quote that does not end, or an escape that is none."""


def split(text: str, *, strict: bool = False) -> list[str]:
    """The words of `text`. An unknown escape is kept as it stands, but `strict`, as for Environment=, a WordError."""
    found: list[str] = []
    at = 0
    while True:
        word, at = next_word(text, at, strict=strict)
        if word is None:
            return found
        found.append(word)


def next_word(text: str, at: int = 0, *, strict: bool = False) -> tuple[str | None, int]:
    """The word that begins at or after `at`, and where the next begins; None at the end. WordError."""
    end = len(text)
    at = skip(text, at)
    if at == end:
        return None, at
    simple = _PLAIN_WORD.match(text, at)
    if simple is not None:
        return simple[1], simple.end()
    word = bytearray()
    quote = ""
    while at < end:
        letter = text[at]
        if letter == "\\":
            at = _unescape(text, at + 1, word, quote, strict)
        elif letter == quote:
            quote = ""
            at += 1
        elif not quote and letter in "\"'":
            quote = letter
            at += 1
        elif not quote and letter in WHITE:
            break
        else:
            at = _take(_QUOTED[quote] if quote else _PLAIN, text, at, word)
    if quote:
        raise WordError(f"a quote {quote} is not closed in {short(text)}")
    return word.decode("utf-8", "surrogateescape"), skip(text, at)


def skip(text: str, at: int) -> int:
    """Where white space ends."""
    blanks = _BLANKS.match(text, at)
    return at if blanks is None else blanks.end()


def _take(letters: re.Pattern[str], text: str, at: int, word: bytearray) -> int:
    """Letters that stand for themselves go to `word`; where they end."""
    found = letters.match(text, at)
    if found is None:  # whoever calls has looked at the first
        raise WordError(f"{short(text)} cannot be split")
    word += found[0].encode("utf-8", "surrogateescape")
    return found.end()


def short(text: str) -> str:
    """As much of a value as an error can show."""
    return repr(text) if len(text) <= SHOWN else f"{text[:SHOWN]!r}…"


def _unescape(text: str, at: int, word: bytearray, quote: str, strict: bool) -> int:
    """What stands behind a backslash goes to `word`; where it ends."""
    if at == len(text):
        if quote or strict:
            raise WordError(f"{short(text)} ends in a backslash")
        word += b"\\"
        return at
    if text[at] in _ESCAPES:
        word.append(_ESCAPES[text[at]])
        return at + 1
    coded = _CODED.match(text, at)
    if coded is not None and _append(coded, word):
        return coded.end()
    if strict:
        raise WordError(f"\\{text[at]} in {short(text)} is no escape")
    word += b"\\" + text[at].encode("utf-8", "surrogateescape")
    return at + 1


def _append(coded: re.Match[str], word: bytearray) -> bool:
    """A number as a byte (hexadecimal and octal) or as a character (\\u, \\U); False if there is no such one."""
    byte, short, long, octal = coded.groups()
    number = int(byte or short or long, 16) if octal is None else int(octal, 8)
    if number == 0:
        return False
    if byte or octal:
        if number > 0xFF:
            return False
        word.append(number)
        return True
    if number > 0x10FFFF or 0xD800 <= number < 0xE000:
        return False
    word += chr(number).encode()
    return True
