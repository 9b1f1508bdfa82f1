"""One server for the tests that try each route with each caller: runs of two procedures, and a token of every kind."""

from __future__ import annotations

import json
from pathlib import Path

import apsw
from tests.doors.workshop import Workshop

from sopwith.core.config import Role

from .given import UNHURRIED, Reply, Served, database, token

_SCENARIO = """
acts = [{do = "reject", by = "alice", step = "start", reason = "no"}]
expect.status = "cancelled"
"""
ROLES = [role.value for role in Role]


class Ruled:
    """A house with roles in config.json: `u-ROLE` has that one, `u-none` has none. All have administrators' tokens."""

    def __init__(self, folder: Path) -> None:
        self.house = House(folder)
        workshop = self.house.workshop
        names = [*ROLES, "none"]
        self.tokens = {role: token(workshop, f"u-{role}", "admin") for role in names}
        roles = {role: [f"user:u-{role}"] for role in ROLES}
        (workshop.sops / "config.json").write_text(json.dumps({"roles": roles}))

    def close(self) -> None:
        self.house.close()


class House:
    """`deploy` and `other` each have a run that waits at its start gate."""

    def __init__(self, folder: Path, *, before: str = "pass") -> None:
        """`before`: what the server does before it serves, in Python."""
        self.workshop = Workshop(folder / "w")
        for name in ("deploy", "other"):
            self.workshop.steps(name, "Build | echo built", "?Ship | echo shipped", mode="auto", maxConcurrent=500)
            (self.workshop.sops / name / "scenarios").mkdir()
            (self.workshop.sops / name / "scenarios" / "no.toml").write_text(_SCENARIO)
        self.runs = {name: self.workshop.started(name) for name in ("deploy", "other")}
        self.digests = {name: self.workshop.json("status", run)["procedureDigest"] for name, run in self.runs.items()}
        self.tokens = {role: token(self.workshop, f"u-{role}", role) for role in ROLES}
        self.elsewhere = {role: token(self.workshop, f"e-{role}", role, "--procedures", "oth*") for role in ROLES}
        self.agents = {role: token(self.workshop, f"a-{role}", role, "--kind", "agent") for role in ROLES}
        self.services = {role: token(self.workshop, f"s-{role}", role, "--kind", "service") for role in ROLES}
        self.dead = {"none": "", "garbage": "nothing", "wrong": self._wrong(), **self._ended()}
        self.served = Served(self.workshop, before=f"{UNHURRIED}; {before}")

    def _wrong(self) -> str:
        """A token that is there, with another secret."""
        right = self.tokens["admin"]
        return right[:-43] + ("A" * 43)

    def _ended(self) -> dict[str, str]:
        expired = token(self.workshop, "late", "admin", "--expires", "1m")
        revoked = token(self.workshop, "gone", "admin")
        self.workshop.json("token", "revoke", "gone")
        with apsw.Connection(str(database(self.workshop))) as db:
            db.execute("update tokens set expires_at = created_at where name = 'late'")
        return {"expired": expired, "revoked": revoked}

    def call(self, method: str, path: str, token: str = "", **more: object) -> Reply:
        return self.served.call(method, path, token, **more)  # type: ignore[arg-type]

    def close(self) -> None:
        self.served.close()
