"""A run that is created in order to be driven on at once, by the process that creates it."""

from __future__ import annotations

from sopwith.core import commands as cmd
from sopwith.core.actor import Actor
from sopwith.core.run import Run
from sopwith.engine.creation import Driving
from sopwith.engine.engine import Engine, RunRequest
from sopwith.engine.intents import Intent, Intents
from sopwith.ports import Claim


class Begun:
    """A run that was created to be driven on at once: claimed in one transaction with its creation, and where its first
    step is a script, the intent to start that is recorded in the same. Whoever has it calls `drive`, or lets it go.
    """

    def __init__(self, engine: Engine, request: RunRequest, *, actor: Actor) -> None:
        """Raises what `Engine.create_run` does."""
        self._parts = engine.parts
        self._runs = engine.runs
        self.intent: Intent | None = None
        driving = Driving(owner=engine.parts.owner(), first=self._first)
        self.loaded, self._claim, self.events = engine.begin_run(request, actor=actor, driving=driving)
        """How the run stood when this process last looked; and what was recorded with its creation."""

    @property
    def run_id(self) -> str:
        return self.loaded.run.run_id

    def taken_up(self) -> Claim | None:
        """The claim, for whoever drives now and gives it back; None where there is none, or was one."""
        claim, self._claim = self._claim, None
        return claim

    def let_go(self) -> None:
        """Gives the claim back where nobody came to drive."""
        claim = self.taken_up()
        if claim is not None:
            self._parts.store.release(claim)

    def _first(self, run: Run) -> cmd.Command | None:
        self.intent = Intents(self._parts, self._runs).first_in(run)
        return None if self.intent is None else self.intent.command
