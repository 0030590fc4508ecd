"""Omaha's XML: what clients send, and what nobody should."""

import contextlib

import hypothesis.strategies as st
import pytest
from hypothesis import given

from core.api.omaha.protocol import (
    APPS,
    DEPTH,
    ELEMENTS,
    LARGEST,
    Answer,
    App,
    Event,
    OmahaError,
    Update,
    parse,
    render,
)
from tests.omaha.requests import APP, CHECK, FAILED, FIRST, request, said

MACHINE = "0123456789abcdef" * 2


def test_what_update_engine_sends() -> None:
    (app,) = parse(request(MACHINE, "3374.2.0", FIRST.format("3346.1.0")))
    assert app == App(
        APP, f"{{{APP}}}", "3374.2.0", "flatcar", MACHINE, "x86_64", ping=True, check=True, events=(Event(3, 2),)
    )
    (app,) = parse(request(MACHINE, inside=FAILED.format(37)))
    assert (app.ping, app.check, app.events) == (False, False, (Event(3, 0, 37),))


# As go-omaha's client and ue-rs send it, whose attributes differ.
OTHERS = {
    "go-omaha": (
        '<request protocol="3.0" ismachine="1" sessionid="{s}" installsource="scheduler">'
        '<os platform="linux" arch="x64"></os><app appid="a.b.c" version="1.2.3" track="t" '
        'machineid="5b5f0f0a-0000-4000-8000-00000000000a"><ping active="1" r="-1"/><updatecheck/></app></request>'
    ),
    "ue-rs": (
        '<?xml version="1.0" encoding="UTF-8"?><request protocol="3.0" updaterversion="ue-rs-0.0.0" '
        'installsource="scheduler" ismachine="1"><os platform="CoreOS" version="Chateau" sp="3340.0.0_aarch64"/>'
        '<app appid="{A-1}" version="3340.0.0+nightly-20220823-2100" track="beta" machineid="m_1">'
        "<updatecheck/></app></request>"
    ),
}


@pytest.mark.parametrize(("who", "architecture"), [("go-omaha", "x86_64"), ("ue-rs", "aarch64")])
def test_what_others_send(who: str, architecture: str) -> None:
    (app,) = parse(OTHERS[who].encode())
    assert app.architecture == architecture
    assert app.check
    assert app.id in ("a.b.c", "a-1")


BOMB = '<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9)
)
BAD = {
    "nothing": b"",
    "no XML": b"hello",
    "cut off": request(MACHINE)[:-20],
    "two": request(MACHINE) * 2,
    "a bomb": f"{BOMB}]>".encode() + request("&j;").partition(b"\n")[2],
    "a file": b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + request("&x;").partition(b"\n")[2],
    "a DOCTYPE": b'<!DOCTYPE request SYSTEM "http://127.0.0.1:1/x.dtd">' + request(MACHINE).partition(b"\n")[2],
    "an entity that is none": request("&nbsp;"),
    "too deep": request(MACHINE, inside="<a>" * DEPTH + "</a>" * DEPTH),
    "too many": request(MACHINE, inside="<event/>" * ELEMENTS),
    "too long": request(MACHINE, inside=f'<ping a="{"x" * 1025}"/>'),
    "too large": request(MACHINE, inside=" " * LARGEST),
    "another root": b'<response protocol="3.0"></response>',
    "another version": request(MACHINE).replace(b'protocol="3.0"', b'protocol="2.0"'),
    "no version": request(MACHINE).replace(b'protocol="3.0"', b""),
    "no app": b'<request protocol="3.0"><os/></request>',
    "many apps": b'<request protocol="3.0">' + b'<app version="1" machineid="m"/>' * (APPS + 1) + b"</request>",
    "no machine": request(""),
    "a machine with a slash": request("a/../b"),
    "a version that is none": request(MACHINE, "1.0/../2"),
    "an event that is none": request(MACHINE, inside='<event eventtype="-1" eventresult="x"/>'),
    "another alphabet": "<request/>".encode("utf-16"),
    "bytes that are none": request(MACHINE).replace(b"qemu", b"\xff\xfe"),
    "a zero": request(MACHINE).replace(b"qemu", b"\0"),
    "an attribute twice": request(MACHINE).replace(b"lang=", b"oem=").replace(b"oemversion=", b"oem="),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_requests_are_refused_with_the_reason(what: str) -> None:
    with pytest.raises(OmahaError, match=r"\w{2}"):
        parse(BAD[what])


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_whatever_comes_is_read_or_refused(data: bytes) -> None:
    for body in (data, request(MACHINE).replace(b"qemu", data), request(MACHINE).replace(b"</app>", data)):
        with contextlib.suppress(OmahaError):
            parse(body)


def test_an_answer_is_what_update_engine_reads() -> None:
    (app,) = parse(request(MACHINE, inside=FIRST.format("")))
    update = Update("2.0", "u&'\".gz", 23, "ab" * 20, "cd" * 32, ("https://h:1/p", "https://[::1]:2/q/"))
    found = said(render([Answer(app, update=update)], 5))
    assert found.urls == ("https://h:1/p/u&'\".gz", "https://[::1]:2/q/u&'\".gz")
    assert (found.app, found.check, found.version, found.size, found.events) == ("ok", "ok", "2.0", 23, 1)
    assert len(found.sha256) == 44
    assert said(render([Answer(app)], 5)).check == "noupdate"
    refused = said(render([Answer(app, "error-unknownApplication")], 5))
    assert (refused.app, refused.check, refused.events) == ("error-unknownApplication", "error-internal", 0)


def test_what_is_repeated_is_escaped() -> None:
    (app,) = parse(request(MACHINE, inside=CHECK, app="&lt;&quot;&apos;&gt;&amp;"))
    assert b'appid="&lt;&quot;&#x27;&gt;&amp;"' in render([Answer(app, "restricted")], 0)
