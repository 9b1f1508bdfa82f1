"""Whatever a procedure is made of: its rehearsal ends, and says the same each time."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from sopwith.core.run import RunStatus, is_manual, open_gates
from sopwith.parse.scenario import Act, Expectation, Pass, Scenario, Stub, Verb
from sopwith.rehearsal.play import Played, play
from sopwith.rehearsal.verdict import event_words, waits_for
from sopwith.testing.scenario import PEOPLE, random_config, random_procedure


def _played(seed: int) -> Played:
    chance = Random(seed)
    of = random_procedure(chance, "any")
    numbers = [step.number for step in of.steps]
    stubs = {
        number: Stub(
            exit_codes=chance.choice(((0,), (1,), (1, 0), (2, 0))),
            takes_secs=chance.choice((0, 0, 0.5, 30, 7200)),
            interrupted=chance.random() < 0.1,
        )
        for number in numbers
        if chance.random() < 0.5
    }
    acts: list[Act | Pass] = []
    for _ in range(chance.randint(0, 8)):
        verb = chance.choice(list(Verb))
        acts.append(Act(verb=verb, actor=chance.choice(PEOPLE), reason="so", comment="I looked"))
        acts.append(Pass(secs=chance.choice((0, 1, 600))))
    scenario = Scenario(
        name="any",
        starter=PEOPLE[0],
        params={"to": "staging"},
        stubs=stubs,
        acts=tuple(acts),
        expect=Expectation(),
    )
    return play(of, random_config(chance), scenario)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 1_000_000))
def test_every_rehearsal_ends_and_nothing_of_it_goes_on(seed: int) -> None:
    played = _played(seed)
    assert not played.endless
    if played.run is None:
        assert played.refusal is not None
        return
    run = played.run
    ended = run.ended is not None
    waits = bool(open_gates(run)) or run.paused or any(is_manual(run, s.number) for s in run.live)
    assert ended or waits
    assert bool(waits_for(played)) == (run.ended not in (RunStatus.COMPLETED, RunStatus.CANCELLED))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1_000_000))
def test_a_rehearsal_goes_the_same_way_each_time(seed: int) -> None:
    first, second = _played(seed), _played(seed)
    assert [(event_words(e), e.at) for e in first.events] == [(event_words(e), e.at) for e in second.events]
