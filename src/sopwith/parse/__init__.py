"""Text of SOP.md, manifest.json, config.json and index.json -> values, or every problem found. Pure."""
