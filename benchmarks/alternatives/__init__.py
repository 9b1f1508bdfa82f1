"""The same work in other engines: each module is a program of its own, which runs in an environment of its own."""
