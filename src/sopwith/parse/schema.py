"""JSON Schemas (draft 2020-12) of manifest.json and config.json for editors, made from the models that decode them."""

from __future__ import annotations

from typing import Any

import msgspec

from sopwith.parse.config import ConfigFile
from sopwith.parse.model import ManifestFile

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def manifest_schema() -> dict[str, Any]:
    """The schema of manifest.json."""
    return _schema(ManifestFile, "Sopwith manifest.json")


def config_schema() -> dict[str, Any]:
    """The schema of config.json."""
    return _schema(ConfigFile, "Sopwith config.json")


def _schema(model: type[msgspec.Struct], title: str) -> dict[str, Any]:
    return {"$schema": _DIALECT, "title": title, **msgspec.json.schema(model)}
