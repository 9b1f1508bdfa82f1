"""Executors: one file, one kind of step. Each offers `KIND`, an ExecutorKind, as an outsider's package would."""
