"""Names of units: how they are split, and which are refused."""

import pytest

from core.sched import names
from core.sched.names import UnitName, UnitNameError


@pytest.mark.parametrize(
    ("text", "prefix", "instance", "kind"),
    [
        ("hello.service", "hello", None, "service"),
        ("a.b.timer", "a.b", None, "timer"),
        ("web@.service", "web", "", "service"),
        ("web@1.service", "web", "1", "service"),
        ("web@a@b.c.socket", "web", "a@b.c", "socket"),
        (r"srv-a\x20b.mount", r"srv-a\x20b", None, "mount"),
    ],
)
def test_a_name_is_split(text: str, prefix: str, instance: str | None, kind: str) -> None:
    assert names.parse(text) == UnitName(text, prefix, instance, kind)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty"),
        ("hello", "type of unit"),
        ("hello.", "type of unit"),
        ("hello.exe", "type of unit"),
        ("../etc.service", "characters"),
        ("a/b.service", "characters"),
        ("..", "type of unit"),
        ("a b.service", "characters"),
        ("a\n.service", "characters"),
        ("a\0.service", "characters"),
        ("é.service", "characters"),
        (".service", "characters"),
        ("@1.service", "before its @"),
        ("a@1.mount", "only path"),
        ("a" * 248 + ".service", "256"),
    ],
)
def test_what_is_no_name_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(UnitNameError, match=complaint):
        names.parse(text)


def test_instances_and_their_template() -> None:
    template = names.parse("web@.service")
    one = template.of("1")
    assert (one.text, one.template, one.stem) == ("web@1.service", "web@.service", "web@1")
    assert template.is_template
    assert one.is_instance
    assert template.template is None
    with pytest.raises(UnitNameError, match="no template"):
        one.of("2")
    with pytest.raises(UnitNameError, match="characters"):
        template.of("../x")
