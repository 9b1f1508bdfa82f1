"""Channels: one file, one way to somebody. None of them is imported before a message goes its way."""
