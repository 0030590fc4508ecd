"""Requests in the shape in which update_engine sends them, and what it would take from an answer."""

from typing import NamedTuple
from xml.etree import ElementTree

APP = "e96281a6-d1af-4bde-9a0a-97b76e56dc57"
CHECK = '<ping active="1"></ping>\n        <updatecheck></updatecheck>'
FIRST = f'{CHECK}\n        <event eventtype="3" eventresult="2" previousversion="{{}}"></event>'
"""The first check after a boot tells which version ran before."""
STARTED = '<event eventtype="13" eventresult="1"></event>'
FINISHED = '<event eventtype="14" eventresult="1"></event>'
APPLIED = '<event eventtype="3" eventresult="1"></event>'
FAILED = '<event eventtype="3" eventresult="0" errorcode="{}"></event>'
PING = '<ping active="1"></ping>'


def request(
    machine: str, version: str = "1.0.0", inside: str = CHECK, *, track: str = "flatcar", app: str = f"{{{APP}}}"
) -> bytes:
    """One app, with this inside."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<request protocol="3.0" version="update_engine-0.4.10" updaterversion="update_engine-0.4.10" \
installsource="scheduler" ismachine="1">
    <os version="Chateau" platform="CoreOS" sp="{version}_x86_64"></os>
    <app appid="{app}" version="{version}" track="{track}" bootid="{{fake-boot-id}}" oem="qemu" oemversion="0" \
alephversion="{version}" machineid="{machine}" machinealias="" lang="en-US" board="amd64-usr" hardware_class="" \
delta_okay="false" >
        {inside}
    </app>
</request>
""".encode()


class Said(NamedTuple):
    """What update_engine reads of an answer."""

    app: str
    check: str
    version: str = ""
    urls: tuple[str, ...] = ()
    """Each with the name of the package behind it."""
    size: int = 0
    sha256: str = ""
    sha1: str = ""
    """Both base64."""
    events: int = 0


def said(body: bytes) -> Said:
    """By the same paths as there. An answer that it would not take is an error."""
    response = ElementTree.fromstring(body)
    assert (response.tag, response.attrib["protocol"]) == ("response", "3.0")
    app = response.find("app")
    assert app is not None
    events = len(app.findall("event[@status='ok']"))
    check = app.find("updatecheck")
    if check is None or check.attrib["status"] != "ok":
        return Said(app.attrib["status"], "" if check is None else check.attrib["status"], events=events)
    manifest, package = check.find("manifest"), check.find("manifest/packages/package")
    action = check.find("manifest/actions/action[@event='postinstall']")
    assert manifest is not None
    assert package is not None
    assert action is not None
    assert action.attrib["DisablePayloadBackoff"] == "true"
    bases = [url.attrib["codebase"] for url in check.findall("urls/url")]
    return Said(
        app.attrib["status"],
        "ok",
        manifest.attrib["version"],
        tuple(base + ("" if base.endswith("/") else "/") + package.attrib["name"] for base in bases),
        int(package.attrib["size"]),
        action.attrib["sha256"],
        package.attrib["hash"],
        events,
    )
