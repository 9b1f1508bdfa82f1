"""Commands that their callers have named, commands decided on an older revision, and steps that are blocked."""

from __future__ import annotations

import hashlib
import json
import re

from msgspec.structs import replace

from sopwith.core import commands as cmd
from sopwith.core.actor import Actor, ActorKind
from sopwith.core.codec import decode_event, encode_event, seal
from sopwith.core.evolve import replay
from sopwith.core.request import Request, request_of, run_id_of
from sopwith.core.run import RunStatus, StepStatus
from sopwith.engine.runs import RUN_ID
from sopwith.errors import BadRequest, IllegalMove, KeyReused, RevisionConflict

from .given import ALICE, BOB, Story, manual, shell

ONE = request_of(ALICE, "k", {"step": 1})


def test_a_request_is_carried_out_once() -> None:
    story = Story(manual(), manual()).drive()
    assert story.when(cmd.Complete, step=1, request=ONE) == ["step_reported", "step_completed"]
    assert story.when(cmd.Complete, step=1, request=ONE) == []
    # also where the run has ended, and the command would be illegal
    story.drive()
    story.when(cmd.Cancel)
    assert story.when(cmd.Complete, step=1, request=ONE) == []


def test_a_name_stands_for_one_request() -> None:
    story = Story(manual(), manual()).drive()
    story.when(cmd.Complete, step=1, request=ONE)
    story.drive().refused(KeyReused, cmd.Complete, step=2, request=request_of(ALICE, "k", {"step": 2}))
    assert story.step(2).status is StepStatus.RUNNING


def test_two_callers_never_mean_the_same_request() -> None:
    agent = Actor(ALICE.id, ActorKind.AGENT, "mcp")
    keys = {request_of(actor, "k", {}).key for actor in (ALICE, BOB, agent)}
    assert len(keys) == 3
    assert len({run_id_of(request_of(actor, "k", {})) for actor in (ALICE, BOB, agent)}) == 3


def test_what_was_asked_is_told_apart_whatever_the_order() -> None:
    assert request_of(ALICE, "k", {"a": 1, "b": 2}) == request_of(ALICE, "k", {"b": 2, "a": 1})
    assert request_of(ALICE, "k", {"a": 1}) != request_of(ALICE, "k", {"a": "1"})


def test_the_id_of_a_named_run_is_a_run_id_and_always_the_same() -> None:
    assert re.fullmatch(RUN_ID, run_id_of(ONE))
    assert run_id_of(ONE) == run_id_of(request_of(ALICE, "k", {"other": True}))


def test_requests_are_in_the_record_and_read_back_from_it() -> None:
    story = Story(manual()).drive()
    story.when(cmd.Complete, step=1, request=ONE)
    made = [event for event in story.events if event.request is not None]
    assert [event.event_type for event in made] == ["step_reported", "step_completed", "run_completed"]
    assert all(decode_event(encode_event(event)) == event for event in story.events)
    assert all(b'"request"' in sealed.payload for sealed in seal(made, "0" * 64))
    assert replay(story.procedure, story.events).requests[ONE.key].seq == story.run.seq


def test_the_record_holds_no_name_of_a_call_and_nothing_to_try_guesses_of_what_was_asked_by() -> None:
    """Either may hold a secret: what a caller writes down of its own is masked nowhere else."""
    name, asked = "s3cr3t-value", {"comment": "s3cr3t-value"}
    story = Story(manual()).drive()
    story.when(cmd.Complete, step=1, request=request_of(ALICE, name, asked))
    record = b"".join(encode_event(event) for event in story.events).decode()
    assert '"request"' in record
    assert name not in record
    assert hashlib.sha256(json.dumps(asked).encode()).hexdigest() not in record
    assert request_of(ALICE, "one", asked).digest != request_of(ALICE, "other", asked).digest


def test_a_record_with_plain_names_still_knows_its_calls() -> None:
    """As versions before wrote it: the caller and its name for the call, and the SHA-256 of what was asked."""
    plain = Request(key=f"human:{ALICE.id}/k", digest=hashlib.sha256(b'{"step": 1}').hexdigest())
    story = Story(manual(), manual()).drive()
    story.when(cmd.Complete, step=1, request=ONE)
    story.events = [replace(event, request=event.request and plain) for event in story.events]
    story.run = replay(story.procedure, [decode_event(encode_event(event)) for event in story.events])
    assert story.run.requests.keys() == {ONE.key}
    assert story.when(cmd.Complete, step=1, request=ONE) == []
    story.refused(KeyReused, cmd.Complete, step=2, request=request_of(ALICE, "k", {"step": 2}))
    assert run_id_of(plain) == run_id_of(ONE)


def test_the_run_of_a_key_is_the_one_that_it_always_was() -> None:
    assert (ALICE.id, run_id_of(ONE)) == ("alice", "sop_run_75j2rehizjpp")


def test_a_record_without_requests_is_as_it_always_was() -> None:
    story = Story(manual()).drive()
    assert all(b'"request"' not in encode_event(event) for event in story.events)


def test_a_command_may_be_bound_to_a_revision() -> None:
    story = Story(manual()).drive()
    error = story.refused(RevisionConflict, cmd.Complete, step=1, expected_seq=story.run.seq - 1)
    assert error.details["revision"] == story.run.seq
    story.when(cmd.Complete, step=1, expected_seq=story.run.seq)


def test_a_repeated_request_is_not_held_to_its_revision() -> None:
    story = Story(manual()).drive()
    seen = story.run.seq
    story.when(cmd.Complete, step=1, request=ONE, expected_seq=seen)
    assert story.when(cmd.Complete, step=1, request=ONE, expected_seq=seen) == []


def test_a_blocked_step_pauses_the_run_and_stays_open() -> None:
    story = Story(manual()).drive()
    assert story.when(cmd.Block, reason="no access") == ["step_reported", "run_paused"]
    assert (story.status, story.step(1).status) == (RunStatus.PAUSED, StepStatus.RUNNING)
    assert story.run.reason == "step 1 is blocked: no access"
    assert story.when(cmd.Resume) == ["run_resumed"]
    assert story.status is RunStatus.RUNNING


def test_a_blocked_step_that_is_completed_lets_the_run_go_on() -> None:
    story = Story(manual(), manual()).drive()
    story.when(cmd.Block, reason="no access")
    assert story.when(cmd.Complete, step=1) == ["step_reported", "step_completed", "run_resumed"]


def test_a_blocked_step_lets_a_process_end_first() -> None:
    story = Story(shell(), manual(after=())).drive()
    assert story.when(cmd.Block, reason="no access") == ["step_reported", "run_pause_requested"]


def test_blocked_needs_a_reason_and_an_open_step() -> None:
    story = Story(manual(), manual()).drive()
    story.refused(BadRequest, cmd.Block, reason=" ")
    story.refused(IllegalMove, cmd.Block, step=2, reason="no")
