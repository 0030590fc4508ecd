"""What a unit's programs find in their environment: files of variables, and those in command lines, by systemd's
rules."""

from core.agent.supervisor.shim.job import Job
from core.agent.supervisor.shim.places import read_regular

Environment = dict[str, str]
BLANKS = " \t\r\n"
SEARCH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Where a program named without a slash is looked for; also the PATH of units that give none."""
LONGEST_FILE = 1 << 20
"""Bytes of a file of variables."""


class UnableError(Exception):
    """The host lacks something the unit cannot start without; the text says what."""


def variables(job: Job) -> Environment:
    """Those that a job's own words and files give. UnableError."""
    found = {"PATH": ":".join(SEARCH)}
    for name, value in job.all("env"):
        found[name] = value
    for optional, path in job.all("env-file"):
        found.update(_environment_file(path, optional == "1"))
    for (name,) in job.all("unset"):
        found.pop(name, None)
    return found


def _environment_file(path: str, optional: bool) -> Environment:
    try:
        text = read_regular(path, LONGEST_FILE).decode("utf-8", "surrogateescape")
        return parse_file(text.replace("\r\n", "\n"))
    except OSError as error:
        if optional:
            return {}
        raise UnableError(f"EnvironmentFile={path}: {error.strerror}") from None


def parse_file(text: str) -> Environment:
    """The assignments in an EnvironmentFile=. Lines that are none are passed over, as systemd does."""
    found = {}
    place = 0
    while place < len(text):
        end = _line_end(text, place)
        line = text[place:end]
        name, equals, _ = line.partition("=")
        if not line.strip() or line.lstrip()[0] in "#;" or not equals or "\0" in line:
            place = end + 1
            continue
        value, place = _value(text, place + len(name) + 1)
        if is_name(name.strip()):
            found[name.strip()] = value
    return found


def is_name(name: str) -> bool:
    """Whether a variable may be called so."""
    return name.replace("_", "a").isalnum() and name.isascii() and not name[0].isdecimal()


def _line_end(text: str, place: int) -> int:
    end = text.find("\n", place)
    return len(text) if end < 0 else end


def _value(text: str, place: int) -> tuple[str, int]:
    """The value that begins here, and where the next line begins. Quotes may hold newlines."""
    made: list[str] = []
    plain_from = 0
    bare = False
    while place < len(text) and text[place] != "\n":
        char = text[place]
        if char in "'\"" and not bare:
            part, place = _quoted(text, place + 1, char)
            made.append(part)
            plain_from = len(made)
        elif char == "\\":
            if text[place + 1 : place + 2] != "\n":
                made.append(text[place + 1 : place + 2])
                bare = True
                plain_from = len(made)
            place += 2
        else:
            if bare or char not in BLANKS:
                made.append(char)
                bare = True
            place += 1
    return "".join(made[:plain_from]) + "".join(made[plain_from:]).rstrip(BLANKS), place + 1


def _quoted(text: str, place: int, quote: str) -> tuple[str, int]:
    made = []
    while place < len(text) and text[place] != quote:
        char, after = text[place], text[place + 1 : place + 2]
        if char == "\\" and quote == '"' and after and after in '"\\`$\n':
            made.append(after.strip("\n"))
            place += 2
        else:
            made.append(char)
            place += 1
    return "".join(made), place + 1


def expand(words: list[str], variables: Environment) -> list[str]:
    """Words with `${NAME}` replaced anywhere, `$NAME` as a whole word split at blanks, `$$` as a dollar sign."""
    found = []
    for word in words:
        if word.startswith("$") and word[1:] and is_name(word[1:]):
            found += split(variables.get(word[1:], ""))
        else:
            found.append(_replaced(word, variables))
    return found


def _replaced(word: str, variables: Environment) -> str:
    made = []
    place = 0
    while (dollar := word.find("$", place)) >= 0:
        made.append(word[place:dollar])
        end = word.find("}", dollar)
        if word[dollar + 1 : dollar + 2] == "$":
            made.append("$")
            place = dollar + 2
        elif word[dollar + 1 : dollar + 2] == "{" and end > dollar + 2 and is_name(word[dollar + 2 : end]):
            made.append(variables.get(word[dollar + 2 : end], ""))
            place = end + 1
        else:
            made.append("$")
            place = dollar + 1
    return "".join(made) + word[place:]


def split(text: str) -> list[str]:
    """Words at blanks; quotes hold one together and are taken away."""
    found = []
    word: list[str] | None = None
    quote = ""
    for char in text:
        if char == quote:
            quote = ""
        elif quote:
            word = [*(word or []), char]
        elif char in "'\"":
            quote, word = char, word or []
        elif char in BLANKS:
            if word is not None:
                found.append("".join(word))
            word = None
        else:
            word = [*(word or []), char]
    return found if word is None else [*found, "".join(word)]
