"""Procedures played against scenarios: the real engine and driver, in a world where nothing happens."""
