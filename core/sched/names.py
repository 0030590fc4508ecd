"""Names of units: `prefix.type`, `prefix@instance.type`, and `prefix@.type` for a template, as fleet had them."""

import re

import msgspec

LONGEST = 255
"""Bytes in a unit's name: what systemd and a file system take."""

TYPES = (
    "automount",
    "busname",
    "device",
    "mount",
    "path",
    "scope",
    "service",
    "slice",
    "snapshot",
    "socket",
    "swap",
    "target",
    "timer",
)
"""What may stand behind the last dot."""

TEMPLATE_TYPES = ("path", "service", "socket", "target", "timer")
"""Types that may have templates and instances."""

_FORM = re.compile(r"[A-Za-z0-9:_.\\@-]+")


class UnitNameError(ValueError):
    """This is no name of a unit; the text says what is wrong with it."""


class UnitName(msgspec.Struct, gc=False, frozen=True, order=True):
    """A name in its parts."""

    text: str
    """The whole name."""
    prefix: str
    """What stands before the first `@`, or before the last dot if there is none."""
    instance: str | None
    """What stands between the first `@` and the last dot: empty in a template, None without an `@`."""
    type: str
    """What stands behind the last dot, such as `service`."""

    @property
    def stem(self) -> str:
        """The name without its type."""
        return self.text.rpartition(".")[0]

    @property
    def is_template(self) -> bool:
        return self.instance == ""

    @property
    def is_instance(self) -> bool:
        return bool(self.instance)

    @property
    def template(self) -> str | None:
        """The name of the template this is an instance of; None if it is none."""
        return f"{self.prefix}@.{self.type}" if self.instance else None

    def of(self, instance: str) -> "UnitName":
        """The instance of this template. UnitNameError if that makes no name, or this is no template."""
        if not self.is_template:
            raise UnitNameError(f"{self.text} is no template; a template's name looks like web@.service")
        return parse(f"{self.prefix}@{instance}.{self.type}")


def parse(text: str) -> UnitName:
    """The parts of a unit's name. UnitNameError with a sentence for people."""
    if not text:
        raise UnitNameError("a unit's name is empty; write it like hello.service")
    if len(text) > LONGEST:
        raise UnitNameError(f"a unit's name has {len(text)} characters, and at most {LONGEST} are possible")
    stem, dot, kind = text.rpartition(".")
    if not dot or kind not in TYPES:
        raise UnitNameError(f"{text!r} does not end in a type of unit; write it like hello.service")
    if not _FORM.fullmatch(stem):
        raise UnitNameError(
            f"{text!r} has characters that no unit's name can have; those are letters and digits of ASCII and"
            " : _ . \\ @ - (systemd-escape makes a name of any text)"
        )
    prefix, at, instance = stem.partition("@")
    if not prefix:
        raise UnitNameError(f"{text!r} has nothing before its @; write it like web@1.service")
    if at and kind not in TEMPLATE_TYPES:
        raise UnitNameError(f"{text!r}: only {', '.join(TEMPLATE_TYPES)} can have an @, which makes templates")
    return UnitName(text, prefix, instance if at else None, kind)
