"""What a unit's processes are told: variables, files of them, directories, limits; and what they look like in words."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.agent.supervisor.shim import environment
from core.agent.supervisor.shim.fields import pack, unpack
from tests.supervisor.world import ROOT, world

WHOLE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
ANYWHERE = re.compile(r"\$(?:\$|\{([A-Za-z_][A-Za-z0-9_]*)\})")
BLANK_SEPARATED = re.compile(r"""(?:"[^"]*(?:"|$)|'[^']*(?:'|$)|[^\s"'])+""")
PART = re.compile(r""""([^"]*)(?:"|$)|'([^']*)(?:'|$)|([^"']+)""")
NAMES = st.sampled_from(["A", "B_1", "LONG", "_x"])
TEXT = st.text(alphabet=" \t\n'\"\\${}AB_1xLONG;#", max_size=12)


@given(words=st.lists(TEXT, max_size=5), variables=st.dictionaries(NAMES, TEXT))
def test_variables_are_replaced_as_a_plainer_reading_says(words: list[str], variables: dict[str, str]) -> None:
    expected = []
    for word in words:
        whole = WHOLE.fullmatch(word)
        if whole:
            text = variables.get(whole[1], "")
            parts = [PART.findall(part) for part in BLANK_SEPARATED.findall(text)]
            expected += ["".join(double or single or plain for double, single, plain in part) for part in parts]
        else:
            expected.append(ANYWHERE.sub(lambda match: variables.get(match[1], "") if match[1] else "$", word))
    assert environment.expand(words, variables) == expected


@given(rows=st.lists(st.lists(st.text(alphabet="ab\\\t\n\r\0é\udcff", max_size=8), min_size=1, max_size=4)))
def test_records_come_back_as_they_were(rows: list[list[str]]) -> None:
    kept = [row for row in rows if row != [""]]
    assert unpack(pack(kept)) == kept


FILES = [
    ("A=1\nB=two words\n", {"A": "1", "B": "two words"}),
    ("# no\n; no\n\n  \nA=1", {"A": "1"}),
    ("A='single \"quoted\"'\nB=\"double 'quoted'\"", {"A": 'single "quoted"', "B": "double 'quoted'"}),
    ("A=a\\\nb\nB=2", {"A": "ab", "B": "2"}),
    ("A='over\ntwo lines'\nB=2", {"A": "over\ntwo lines", "B": "2"}),
    ('A="a \\" b \\\\ c \\n"', {"A": 'a " b \\ c \\n'}),
    ("A=  spaces around  \nB=", {"A": "spaces around", "B": ""}),
    ("A=$B ${C}", {"A": "$B ${C}"}),
    ("1A=no\nB C=no\nno equals\nD=4", {"D": "4"}),
    ("A=1\nA=2", {"A": "2"}),
    ("A='never ends", {"A": "never ends"}),
    ("A=a'b", {"A": "a'b"}),
    (" A = 1", {"A": "1"}),
]


@pytest.mark.parametrize(("text", "found"), FILES)
def test_files(text: str, found: dict[str, str]) -> None:
    assert environment.parse_file(text) == found


@given(text=st.text(alphabet="AB=1'\"\\\n #;$ ", max_size=40))
def test_any_file_is_read_to_its_end(text: str) -> None:
    assert all(environment.is_name(name) for name in environment.parse_file(text))


async def test_where_variables_come_from_and_which_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSED", "by the daemon")
    (tmp_path / "file").write_text("C=file\nD='two\nlines'\n")
    async with world(tmp_path) as w:
        await w.run(
            "a@x.service",
            "Type=oneshot",
            "PassEnvironment=PASSED NOT_THERE",
            "Environment=A=1 'B=two words' C=unit GONE=1 INSTANCE=%i",
            'Environment="NL=one\\ntwo"',
            f"EnvironmentFile={tmp_path}/file",
            "UnsetEnvironment=GONE",
            "ExecStart=/usr/bin/env",
            "ExecStart=/usr/bin/printf <%%s> $B ${B} $$B ${NL} ${NONE} $NONE",
            "ExecStart=:/bin/echo $B",
        )
        await w.over("a@x.service")
        found = await w.log("a@x.service")
        for line in (
            "A=1",
            "B=two words",
            "C=file",
            "NL=one",
            "two",
            "D=two",
            "lines",
            "INSTANCE=x",
            "PASSED=by the daemon",
        ):
            assert line in found
        assert not any(line.startswith(("GONE", "NOT_THERE", "HOME", "PYTHON")) for line in found)
        assert any(line.startswith("INVOCATION_ID=") for line in found)
        assert found[-3:] == ["<two><words><two words><$B><one", "two><>", "$B"]


@ROOT
async def test_a_user_has_its_home_groups_and_directories(tmp_path: Path) -> None:
    name = f"corenode-test-{os.getpid()}"
    async with world(tmp_path) as w:
        await w.run(
            "a.service",
            "Type=oneshot",
            "User=nobody",
            "SupplementaryGroups=daemon",
            f"RuntimeDirectory={name} {name}/below",
            "RuntimeDirectoryMode=0750",
            "UMask=0027",
            "Nice=5",
            "OOMScoreAdjust=7",
            "LimitNOFILE=123:456",
            "ExecStart=/bin/sh -c 'id -un; id -Gn; echo $$HOME; umask; nice; cat /proc/self/oom_score_adj'",
            "ExecStart=/bin/sh -c 'ulimit -Sn; ulimit -Hn; echo $RUNTIME_DIRECTORY'",
            "ExecStart=/bin/sh -c 'stat -c \"%%U %%a\" $${RUNTIME_DIRECTORY%%%%:*}; touch /dev/stdout'",
            "ExecStart=+/usr/bin/id -un",
        )
        assert (await w.over("a.service")).active == "inactive"
        home = os.path.expanduser("~nobody")  # noqa: ASYNC240
        below = f"/run/{name}"
        told = [
            "nobody",
            "nogroup daemon",
            home,
            "0027",
            "5",
            "7",
            "123",
            "456",
            f"{below}:{below}/below",
            "nobody 750",
        ]
        assert await w.log("a.service") == [*told, "root"]
        assert not os.path.exists(below)  # noqa: ASYNC240
