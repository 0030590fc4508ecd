"""fleetctl's flags, variables and tables."""

import pytest

from core.fleetctl_name.flags import read
from core.fleetctl_name.tables import lines, short, table
from core.goflags import FlagError


def test_flags_stand_before_the_command_behind_it_and_between_units() -> None:
    words = read(["--endpoint", "unix:///x", "start", "a.service", "--no-block", "b.service", "-block-attempts=3"], {})
    assert words.command == "start"
    assert words.arguments == ("a.service", "b.service")
    assert words.values == {"endpoint": "unix:///x"}
    assert words.is_on("no-block")
    assert words.flags["block-attempts"] == "3"


def test_global_flags_may_follow_the_command() -> None:
    assert read(["list-units", "--endpoint=http://x", "-l"], {}).values == {"endpoint": "http://x"}


def test_variables_count_where_no_flag_does() -> None:
    environ = {"FLEETCTL_ENDPOINT": "http://a", "FLEETCTL_SSH_USERNAME": "me", "FLEETCTL_NOTHING": "x"}
    assert read(["list-units"], environ).values == {"endpoint": "http://a", "ssh-username": "me"}
    assert read(["--endpoint=http://b", "list-units"], environ).values["endpoint"] == "http://b"


def test_a_beginning_that_only_one_command_has_will_do() -> None:
    assert read(["list-m"], {}).command == "list-machines"
    assert read(["c", "x"], {}).command == "cat"
    for word, why in (("list", "may be list-machines"), ("st", "may be start"), ("x", "unknown command")):
        with pytest.raises(FlagError, match=why):
            read([word], {})


def test_the_words_of_another_program_are_left_alone() -> None:
    words = read(["ssh", "-A", "113f", "uptime", "-p", "--since"], {})
    assert words.arguments == ("113f", "uptime", "-p", "--since")


def test_unknown_flags_are_refused() -> None:
    with pytest.raises(FlagError, match="not defined: -lines"):
        read(["cat", "--lines=3", "x"], {})


def test_the_tables_of_the_manual() -> None:
    rows = [["MACHINE", "IP", "METADATA"], ["113f16a7...", "172.17.8.103", "az=us-west-1b"]]
    assert lines(rows) == ["MACHINE\t\tIP\t\tMETADATA", "113f16a7...\t172.17.8.103\taz=us-west-1b"]
    rows = [["UNIT", "HASH", "DSTATE"], ["hello.service", "e55c0ae", "launched"]]
    assert lines(rows) == ["UNIT\t\tHASH\tDSTATE", "hello.service\te55c0ae\tlaunched"]
    assert lines([["12345678", "x"]]) == ["12345678\tx"]
    assert lines([]) == []


def test_chosen_columns() -> None:
    rows = [{"unit": "a.service", "sub": ""}]
    assert table(["sub", "unit"], ["unit", "sub"], rows, legend=True) == ["SUB\tUNIT", "-\ta.service"]
    assert table(["unit"], ["unit", "sub"], rows, legend=False) == ["a.service"]
    with pytest.raises(ValueError, match="'wrong'"):
        table(["wrong"], ["unit", "sub"], rows, legend=True)


def test_machine_ids() -> None:
    assert short("113f16a7b1c24ab8", full=False) == "113f16a7..."
    assert short("113f16a7b1c24ab8", full=True) == "113f16a7b1c24ab8"
