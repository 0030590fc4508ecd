"""fleet's discovery document: what its API has, for programs that make clients of such descriptions."""

from typing import Any

TEXT = {"type": "string"}
_TOKEN = {"nextPageToken": {**TEXT, "location": "query"}}
_STATES = {**TEXT, "enum": ["inactive", "loaded", "launched"]}


def document(path: str) -> dict[str, Any]:
    """For the API below a path such as `/fleet/v1/`."""
    return {
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": "fleet:v1",
        "name": "schema",
        "version": "v1",
        "title": "fleet API",
        "description": "",
        "documentationLink": "http://github.com/coreos/fleet",
        "protocol": "rest",
        "icons": {"x16": "", "x32": ""},
        "labels": [],
        "baseUrl": f"$ENDPOINT{path}",
        "basePath": path,
        "rootUrl": "$ENDPOINT/",
        "servicePath": path.lstrip("/"),
        "batchPath": "batch",
        "parameters": {},
        "auth": {},
        "schemas": _schemas(),
        "resources": {
            "Machines": {"methods": {
                "List": _method("Machine.List", "A page of machines.", "GET", "machines", _TOKEN, answer="MachinePage"),
                "Patch": _method("Machine.Patch", "Change the metadata of machines.", "PATCH", "machines"),
            }},
            "Units": {"methods": _units()},
            "UnitState": {"methods": {
                "List": _method(
                    "UnitState.List", "A page of states of units.", "GET", "state",
                    {**_TOKEN, "unitName": {**TEXT, "location": "query"}, "machineID": {**TEXT, "location": "query"}},
                    answer="UnitStatePage",
                ),
                "Get": _of_unit("UnitState.Get", "The state of a unit.", "GET", "state", answer="UnitState"),
            }},
        },
    }  # fmt: skip


def _units() -> dict[str, Any]:
    return {
        "List": _method("Unit.List", "A page of units.", "GET", "units", _TOKEN, answer="UnitPage"),
        "Get": _of_unit("Unit.Get", "One unit.", "GET", "units", answer="Unit"),
        "Delete": _of_unit("Unit.Delete", "Forget a unit.", "DELETE", "units"),
        "Set": _of_unit("Unit.Set", "Create or change a unit.", "PUT", "units", body="Unit"),
    }


def _schemas() -> dict[str, Any]:
    metadata = {"type": "object", "properties": {}, "additionalProperties": TEXT}
    machine = {"id": TEXT, "primaryIP": TEXT, "metadata": metadata}
    unit = {
        "name": TEXT,
        "options": _list("UnitOption"),
        "desiredState": _STATES,
        "currentState": _STATES,
        "machineID": {**TEXT, "required": True},
    }
    systemd = {"systemdLoadState": TEXT, "systemdActiveState": TEXT, "systemdSubState": TEXT}
    kinds = {
        "Machine": machine,
        "MachinePage": {"machines": _list("Machine"), "nextPageToken": TEXT},
        "UnitOption": {"section": TEXT, "name": TEXT, "value": TEXT},
        "Unit": unit,
        "UnitPage": {"units": _list("Unit"), "nextPageToken": TEXT},
        "UnitState": {"name": TEXT, "hash": TEXT, "machineID": TEXT, **systemd},
        "UnitStatePage": {"states": _list("UnitState"), "nextPageToken": TEXT},
    }
    return {kind: {"id": kind, "type": "object", "properties": fields} for kind, fields in kinds.items()}


def _list(of: str) -> dict[str, Any]:
    return {"type": "array", "items": {"$ref": of}}


def _method(
    id_: str, says: str, method: str, path: str, parameters: dict[str, Any] | None = None, *, answer: str = "",
    body: str = "",
) -> dict[str, Any]:  # fmt: skip
    found: dict[str, Any] = {"id": f"fleet.{id_}", "description": says, "httpMethod": method, "path": path}
    if parameters:
        found["parameters"] = parameters
    if body:
        found["request"] = {"$ref": body}
    if answer:
        found["response"] = {"$ref": answer}
    return found


def _of_unit(id_: str, says: str, method: str, path: str, *, answer: str = "", body: str = "") -> dict[str, Any]:
    name = {"unitName": {**TEXT, "location": "path", "required": True}}
    found = _method(id_, says, method, f"{path}/{{unitName}}", name, answer=answer, body=body)
    return {**found, "parameterOrder": ["unitName"]}
