"""[X-Fleet]: fleet's rules of validity, the options it had not, and what is refused with which words."""

import pytest

from core.sched import fleet_options, globs, health, metadata, submission
from core.sched.health import Health, HealthError
from core.sched.submission import SubmissionError
from tests.sched.world import machine_id

ME = machine_id(1)


def check(lines: str, name: str = "a.service") -> submission.Submission:
    return submission.check(name, f"[Service]\nExecStart=/bin/true\n[X-Fleet]\n{lines}\n".encode())


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (f"MachineID={ME}\nMachineOf=b.service", "MachineID= cannot be used with MachineOf="),
        (f"MachineID={ME}\nConflicts=b*", "MachineID= cannot be used with Conflicts="),
        (f"MachineID={ME}\nGlobal=true", "MachineID= cannot be used with Global="),
        (f"X-ConditionMachineID={ME}\nReplaces=b*", "MachineID= cannot be used with Replaces="),
        ("Global=yes\nMachineOf=b.service", "Global= cannot be used with MachineOf="),
        ("Global=yes\nReplaces=b.service", "Global= cannot be used with Replaces="),
        ("Conflicts=b*\nReplaces=c*", "Conflicts= cannot be used with Replaces="),
        ("MachineOf=b.service\nConflicts=b*", "Conflicts=b. keeps away"),
        ("MachineOf=b.service\nReplaces=?.service", "Replaces=..service keeps away"),
        ("MachineOf=a.service", "cannot wait for itself"),
        ("MachineOf=b", "type of unit"),
        ("Replicas=3", "for templates"),
        ("MaxPerMachine=0", "no number from 1"),
        ("Weight=-1", "no number such as"),
        ("MemoryRequest=infinity", "infinite"),
        ("MemoryRequest=much", "no size"),
        ("Conflicts=[a", "without its"),
        ("MachineMetadata=a=", "compares with nothing"),
        ("MachineMetadata=size>=big", "no number"),
        ("MachineMetadata=zone=a\nMachineMetadata=zone!=a", "no machine can have"),
        ("MachineMetadata=size>=5\nMachineMetadata=size<3", "no machine can have"),
        ("MachineMetadata=ssd\nMachineMetadata=!ssd", "no machine can have"),
        ("Health=ftp://x", "names nothing to check"),
        ("Health=http://x retries=0", "retries"),
        ("Health=exec:true", "whole path"),
        ("Health=tcp://x", "a host and a port"),
        ("Health=http://[::1/", "no URL"),
        ("Health=http://127.0.0.1/\u00e9", "characters that no URL has"),
        (f"MemoryRequest={'9' * 5000}", "no size"),
        (f"CPURequest={'9' * 5000}%", "9"),
        (f"X={'a' * 8193}", "at most 8,192 letters"),
        (f"X={'%n' * 1000}", "at most 8,192 letters"),
        (f"Conflicts={' '.join(map(str, range(101)))}", "at most 100"),
        ("MachineMetadata=a\n" * 101, "at most 100"),
        (f"Conflicts={'a' * 256}", "longer than 255"),
        (f"Conflicts={'*a' * 9}", "more than 8 stars"),
    ],
)
def test_contradictions_are_refused_with_the_reason(lines: str, complaint: str) -> None:
    with pytest.raises(SubmissionError, match=complaint):
        check(lines)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"a" * (64 * 1024 + 1), "at most 65,536 bytes"),
        (b"\n" * 4096, "at most 4,096 lines"),
        (b"[Unit]\nDescription=a\0b\n", "line 2: a NUL byte"),
        (b"[Unit]\n\nDescription=\xff\n", "line 3: byte 0xff at column 13"),
        (b"[Unit]\r\n\r\nDescription=\xc3\xa9\xc3\n\0", "line 3: byte 0xc3 at column 15"),
        (b"[Unit]\n\r\0\xff", "line 2: a NUL byte"),
        (b"[Unit\n", "line 1: '.Unit' is no section"),
    ],
)
def test_what_is_no_text_is_refused_with_its_line(data: bytes, complaint: str) -> None:
    with pytest.raises(SubmissionError, match=complaint):
        submission.check("a.service", data)


def test_a_circle_of_units_that_wait_is_refused_when_it_is_visible() -> None:
    data = b"[X-Fleet]\nMachineOf=b.service\n"
    known = {"b.service": ["c.service"], "c.service": ["a.service"]}
    with pytest.raises(SubmissionError, match=r"a.service waits for b.service waits for c.service waits for a.service"):
        submission.check("a.service", data, known)
    assert submission.check("a.service", data, {"b.service": ["c.service"]}).rules.machine_of == ("b.service",)


def test_unknown_options_and_idle_ones_give_remarks() -> None:
    found = check("Foo=1\nSpread=zone\nMachineID=nowhere")
    assert [str(remark) for remark in found.remarks] == [
        "Spread= has an effect on instances of templates only",
        "line 4: Foo= is no option of [X-Fleet], and is ignored",
        "line 6: 'nowhere' is no machine id: 32 hexadecimal digits, or the first eight",
    ]
    service = submission.check("a.service", b'x\n[Socket]\n[Service]\nExecStart="a\nEnvironment=1=2\n').remarks
    assert [remark.line for remark in service] == [0, 1, 4, 5]


def test_a_template_is_not_started_without_replicas() -> None:
    found = check("", "web@.service")
    with pytest.raises(SubmissionError, match="cannot activate template"):
        submission.check_desired(found.name, found.rules, "launched", None)
    submission.check_desired(found.name, found.rules, "launched", 3)
    submission.check_desired(found.name, found.rules, "inactive", None)
    with pytest.raises(SubmissionError, match="no template"):
        submission.check_desired(check("").name, found.rules, "launched", 3)


def test_values_are_read_as_fleet_read_them() -> None:
    lines = 'MachineMetadata="zone=a" "disk=ssd"\nX-ConditionMachineMetadata=zone=b\nGlobal=no\nGlobal=TRUE'
    rules = check(f"{lines}\nConflicts=x* y*").rules
    assert [str(condition) for condition in rules.conditions] == ["zone in (a, b)", "disk=ssd"]
    assert rules.is_global
    assert rules.conflicts == ("x*", "y*")
    rules = check("Conflicts=%p@*.%i\nMachineOf=%p-%i.service\nReplaces=\n", "web@7.service").rules
    assert (rules.conflicts, rules.machine_of) == (("web@*.7",), ("web-7.service",))


@pytest.mark.parametrize(
    ("condition", "metadata_of_machine", "holds"),
    [
        ("zone=a", {"zone": "a"}, True),
        ("zone=a=b", {"zone": "a=b"}, True),
        ("zone!=a", {}, True),
        ("zone!=a", {"zone": "a"}, False),
        ("zone in (a, b)", {"zone": "b"}, True),
        ("zone not in a, b", {"zone": "b"}, False),
        ("disk>=200G", {"disk": "1T"}, True),
        ("disk>=200G", {"disk": "many"}, False),
        ("cores<4", {"cores": "3.5"}, True),
        ("cores<=4", {}, False),
        ("cores>4", {"cores": "4"}, False),
        ("ssd", {"ssd": ""}, True),
        ("!ssd", {"ssd": "1"}, False),
    ],
)
def test_conditions_on_metadata(condition: str, metadata_of_machine: dict[str, str], holds: bool) -> None:
    assert metadata.parse(condition).holds(metadata_of_machine) is holds


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("a*c", "abbc", True),
        ("a*b*c", "a-b-c", True),
        ("a?c", "ac", False),
        ("[a-c]x", "bx", True),
        ("[^a-c]x", "bx", False),
        (r"a\*", "a*", True),
        (r"a\*", "ab", False),
        ("", "a", False),
        ("*a" * 30 + "b", "a" * 250, False),
    ],
)
def test_globs(pattern: str, name: str, matches: bool) -> None:
    assert globs.matches(pattern, name) is matches


def test_health_checks() -> None:
    assert health.parse("http://:80/x interval=5s") == Health("http", "http://127.0.0.1:80/x", interval=5.0)
    assert health.parse("tcp://[::1]:5 start=0").target == "[::1]:5"
    assert health.parse('timeout=1s exec:/bin/sh -c "a b"').command == ("/bin/sh", "-c", "a b")
    with pytest.raises(HealthError, match="two targets"):
        health.parse("tcp://a:1 tcp://b:2")


def test_fleets_options_and_hash() -> None:
    text = "# x\n[Unit]\nDescription = a \\\n  b\n\n[Service]\nExecStart=/bin/sleep 9\n[Unit]\nAfter=c\n"
    options = fleet_options.options(text)
    assert [(option.section, option.name, option.value) for option in options] == [
        ("Unit", "Description", "a \\\n  b"),
        ("Service", "ExecStart", "/bin/sleep 9"),
        ("Unit", "After", "c"),
    ]
    again = fleet_options.serialise(options)
    assert again == "[Unit]\nDescription=a \\\n  b\nAfter=c\n\n[Service]\nExecStart=/bin/sleep 9\n"
    assert fleet_options.sha1(options) == fleet_options.sha1(fleet_options.options(again))


def test_a_template_may_ask_of_machines_what_its_instances_are_called() -> None:
    text = b"[Service]\nExecStart=/bin/true\n[X-Fleet]\nMachineMetadata=host=%i\nMachineMetadata=slot>=%i\n"
    assert submission.check("web@.service", text).remarks == ()
