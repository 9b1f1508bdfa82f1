"""JSON Schemas (draft 2020-12) of manifest.json, config.json and scenarios, from the models that decode them."""

from __future__ import annotations

from typing import Any

import msgspec

from sopwith.parse.config import ConfigFile
from sopwith.parse.model import ManifestFile
from sopwith.parse.scenario_model import ScenarioFile

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def manifest_schema() -> dict[str, Any]:
    """The schema of manifest.json."""
    return _schema(ManifestFile, "Sopwith manifest.json")


def config_schema() -> dict[str, Any]:
    """The schema of config.json."""
    return _schema(ConfigFile, "Sopwith config.json")


def scenario_schema() -> dict[str, Any]:
    """The schema of a scenario, whose TOML editors check as JSON."""
    return _schema(ScenarioFile, "Sopwith scenario")


def _schema(model: type[msgspec.Struct], title: str) -> dict[str, Any]:
    return {"$schema": _DIALECT, "title": title, **msgspec.json.schema(model)}
