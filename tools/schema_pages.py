"""docs/reference/manifest.md, config.md and scenario.md, from the JSON Schemas and the parser's own tables of keys."""

from __future__ import annotations

import json
from typing import Any

from sopwith.parse import model
from sopwith.parse.keys import DESIGNED_KEYS, DOCUMENT_KEYS, STEP_KEYS, Key
from sopwith.parse.schema import config_schema, manifest_schema, scenario_schema
from sopwith.parse.scripts import INTERPRETERS
from tools.markdown import code, page, table

Schema = dict[str, Any]

_HEADINGS = {
    "ManifestFile": "manifest.json",
    "StepFile": "An entry of `steps`",
    "ApprovalFile": "`approval`",
    "FormFile": "`form`",
    "FieldFile": "An entry of `properties`",
    "ParameterFile": "An entry of `params`",
    "TriggerFile": "An entry of `triggers`",
    "EnvironmentFile": "`env`",
    "ConfigFile": "config.json",
    "NotificationsFile": "`notifications`",
    "ChannelFile": "An entry of `channels`",
    "FromVariable": "An address in a variable",
    "RouteFile": "An entry of `routes`",
    "TelemetryFile": "`telemetry`",
    "UserFile": "An entry of `users`",
    "ScenarioFile": "A scenario",
    "StepStub": "An entry of `steps`",
    "ScriptStub": "`rollback`",
    "ActFile": "An entry of `acts`",
    "ExpectFile": "`expect`",
}
_OF_CONFIG = (
    "ConfigFile",
    "NotificationsFile",
    "ChannelFile",
    "FromVariable",
    "RouteFile",
    "TelemetryFile",
    "UserFile",
)
_BOUNDS = (("exclusiveMinimum", "above {}"), ("minimum", "at least {}"), ("maximum", "at most {}"))


def manifest_page() -> str:
    schema = manifest_schema()
    return page(
        "Keys of a procedure",
        "What may stand in a procedure's `manifest.json`, and in the key lines of its `SOP.md`. A key that is not "
        "here is an error in `manifest.json`. As a JSON Schema, for editors: [manifest.schema.json]"
        "(manifest.schema.json), or `sop schema manifest`.",
        *_sections(schema, "ManifestFile"),
        "## Key lines of SOP.md",
        "A key line is `**Key**: value` or `**Key:** value` on a line of its own. The case of the key does not "
        "matter. Where both files name a key, the stricter gate, the stricter mode and the longer approval timeout "
        "win, and the manifest wins for the rest.",
        "### Before the first step",
        _keys_table(DOCUMENT_KEYS),
        "### In a step",
        _keys_table(STEP_KEYS),
        "### Fences",
        "These code fences in a step are its script. Several in one step run in order as one script. Every other "
        "fence, and a fence without a word, is text. A fence `verify` is the step's `verify`, run with bash.",
        table(["Fence", "Runs with"], [(code(word), code(program)) for word, program in INTERPRETERS.items()]),
        "## Not supported yet",
        "Known names for what is not built yet. Using one is an error that says so; it is never passed over.",
        table(["Where", "Names"], _designed()),
    )


def config_page() -> str:
    schema = config_schema()
    return page(
        "config.json",
        "`.pi/sops/config.json` is optional, and so is each of its keys. As a JSON Schema, for editors: "
        "[config.schema.json](config.schema.json), or `sop schema config`.",
        *_sections(schema, "ConfigFile"),
        "A run keeps the keys that steer it, as they were when it was created: see `policy` of "
        "[`run_created`](events.md#run_created).",
    )


def scenario_page() -> str:
    schema = scenario_schema()
    there = {name: value for name, value in schema["$defs"].items() if name not in _OF_CONFIG}
    return page(
        "Scenarios",
        "What stands in `.pi/sops/NAME/scenarios/*.toml`, and [how to test a procedure](../how-to/test-a-procedure.md) "
        "with it. A span is text such as `30s`, `5m` or `1h 30m`, or a number of seconds. The table `config` has the "
        "keys of [config.json](config.md). As a JSON Schema, for editors: "
        "[scenario.schema.json](scenario.schema.json), or `sop schema scenario`.",
        *_sections({**schema, "$defs": there}, "ScenarioFile"),
    )


def schema_text(schema: Schema) -> str:
    """A schema as it is committed and as `sop schema` prints it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _sections(schema: Schema, first: str) -> list[str]:
    definitions = schema["$defs"]
    names = [first, *(name for name in _HEADINGS if name in definitions and name != first)]
    parts = []
    for name in names:
        definition = definitions[name]
        parts += [f"## {_HEADINGS[name]}", definition.get("description", ""), _table(definition, definitions)]
    return parts


def _table(definition: Schema, definitions: Schema) -> str:
    required = definition.get("required", [])
    rows = []
    for name, member in definition["properties"].items():
        default = "required" if name in required else _default(member)
        rows.append((code(name), _type(member, definitions), default, _description(member)))
    return table(["Key", "Type", "Default", "Meaning"], rows)


def _default(member: Schema) -> str:
    default = member.get("default")
    return "" if default is None or default in ({}, []) else code(json.dumps(default))


def _description(member: Schema) -> str:
    return str(member.get("description", ""))


def _type(member: Schema, definitions: Schema) -> str:
    """`integer (at least 1)`, `list of text`, `one of …`, or a link to another table of the page."""
    if "$ref" in member:
        return _reference(member["$ref"].rpartition("/")[2], definitions)
    if "anyOf" in member:
        there = [kind for kind in member["anyOf"] if kind.get("type") != "null"]
        if any(kind.get("type") == "number" for kind in there):
            there = [kind for kind in there if kind.get("type") != "integer"]
        kinds = [_type(kind, definitions) for kind in there]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in member:
        return " / ".join(code(str(value)) for value in member["enum"])
    match member.get("type"):
        case "array":
            return f"list of {_type(member['items'], definitions)}"
        case "object" if "properties" in member:
            keys = [
                f"{code(key)}: {_type(inner, definitions)}" + (f" ({told})" if (told := _description(inner)) else "")
                for key, inner in member["properties"].items()
            ]
            return f"object: {'; '.join(keys)}"
        case "object" if "additionalProperties" not in member:
            return "object: name to any value"
        case "object":
            return f"object: name to {_type(member['additionalProperties'], definitions)}"
        case "string":
            return "text" + (f" {code(member['pattern'])}" if "pattern" in member else "")
        case kind:
            bounds = [text.format(member[key]) for key, text in _BOUNDS if key in member]
            return str(kind) + (f" ({', '.join(bounds)})" if bounds else "")


def _reference(name: str, definitions: Schema) -> str:
    if name in _HEADINGS and name not in definitions:
        return f"[{_HEADINGS[name]}]({_HEADINGS[name].removesuffix('.json')}.md)"
    if name in _HEADINGS:
        heading = _HEADINGS[name]
        anchor = "".join(c for c in heading.lower().replace(" ", "-") if c.isalnum() or c == "-")
        return f"[{heading.removeprefix('An entry of ').strip('`')}](#{anchor})"
    return _type(definitions[name], definitions)


def _keys_table(keys: dict[str, Key]) -> str:
    return table(
        ["Key line", "Key of manifest.json"], [(f"**{key.name}**", code(key.manifest_key)) for key in keys.values()]
    )


def _designed() -> list[tuple[str, str]]:
    places: list[tuple[str, frozenset[str]]] = [
        ("manifest.json", model.ManifestFile.designed_keys),
        ("a step of manifest.json", model.StepFile.designed_keys),
        ("a trigger", model.TriggerFile.designed_keys),
    ]
    values = [
        ("`type` of a trigger", model.TriggerFile.designed_values.get("type", frozenset())),
        ("`executor` of a step", model.StepFile.designed_values.get("executor", frozenset())),
    ]
    rows = [*places, *values, ("key lines of SOP.md", DESIGNED_KEYS)]
    return [(place, ", ".join(code(name) for name in sorted(names))) for place, names in rows if names]
