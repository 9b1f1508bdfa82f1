"""Real crash tests: the reference scenario, killed wherever it can be, and what must hold whatever was killed.

`python -m tools.crash --help`. Nothing here knows the inside of Sopwith: it is driven through its command, and judged
by its files. See docs/reliability.md.
"""
