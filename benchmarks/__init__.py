"""Measurements, printed as JSON. Ratios to a bare floor on the same machine in the same run, never bare seconds."""
