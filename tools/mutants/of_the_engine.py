"""Rules of the driver, recovery, runs within runs, the server, and of stores.

Longer than other files: a list, an entry for each rule.
"""

from tools.mutants.mutant import rule

_CONTRACT = (
    "tests/contract/test_memory_store.py tests/contract/test_sqlite_store.py"
    " tests/contract/test_sqlite_processes.py tests/contract/test_sqlite_faults.py"
)
_BROUGHT_ABOUT = "tests/engine/test_brought_about.py"

MUTANTS = (
    # engine/driver.py and intents.py
    rule("a driver has a claim", "engine/driver.py:_commit", "claim=self._claim, ", ""),
    rule("a driver gives its claim back", "engine/driver.py:drive", "parts.store.release(claim)", "pass"),
    rule(
        "a driver looks once more when it leaves",
        "engine/driver.py:drive",
        "if not events or not ready(due(loaded.run), parts.clock.now().at):",
        "if True:",
    ),
    rule(
        "a run that was begun has its first step started once",
        "engine/driver.py:drive",
        "finally:\n                first = None\n",
        "finally:\n",
        found_by="tests/engine/test_begun.py",
    ),
    rule(
        "one run has one driver",
        "engine/driver.py:drive",
        "if claim is None:\n        raise busy(parts, run_id)",
        (
            "if claim is None:\n        claim = parts.store.claim(run_id, parts.owner(), parts.clock.now().at) or"
            " __import__('sopwith.ports').ports.Claim(run_id=run_id, epoch=0, owner=parts.owner())"
        ),
    ),
    rule(
        "the run around it is driven on",
        "engine/driver.py:drive",
        "if upwards and loaded.run.parent is not None:",
        "if False:",
        found_by="tests/engine/test_driver.py tests/engine/test_flow.py "
        "tests/engine/test_children.py tests/engine/test_children_and_others.py "
        "tests/engine/test_found_by_simulation.py",
    ),
    rule(
        "an intent that is not its own is not carried out",
        "engine/driver.py:_carry_out_intent",
        "if executor is not None and events and isinstance(events[0].body, StepStarted):",
        "if executor is not None:",
    ),
    rule(
        "the intent is recorded first",
        "engine/driver.py:_start",
        "events = self._commit(intent.command)\n",
        (
            "await self._launch(step, recovery_order(self._parts, self._loaded.run, step),"
            " intent.executor.start) if intent.executor else None\n        events = self._commit(intent.command)\n"
        ),
    ),
    rule(
        "what is withheld is recovered, not started",
        "engine/driver.py:_carry_out_intent",
        "executor.recover if order.withheld else executor.start",
        "executor.start",
        found_by="tests/engine/test_envelope_moments.py tests/engine/test_driver.py",
    ),
    rule(
        "a change is looked for before a start",
        "engine/intents.py:of",
        "changed = self._changed(run, step, envelope)",
        "changed = ()",
        found_by="tests/engine/test_gates.py",
    ),
    rule(
        "a run that is over starts nothing within it",
        "engine/driver.py:_start",
        "if is_over_around(self._runs, run):",
        "if False:",
        found_by="tests/engine/test_driver.py tests/engine/test_flow.py "
        "tests/engine/test_children.py tests/engine/test_children_and_others.py "
        "tests/engine/test_found_by_simulation.py",
    ),
    rule(
        "what is lacking pauses",
        "engine/driver.py:_start",
        'return self._halt(f"step {step} needs {missing}")',
        "return False",
    ),
    rule(
        "what is recorded is watched once",
        "engine/driver.py:_watch",
        "if step in self._watched or executor is None:",
        "if executor is None:",
    ),
    rule("what is recorded is recovered", "engine/driver.py:_watch", "executor.recover)", "executor.start)"),
    rule(
        "what is lost is told",
        "engine/driver.py:_launch",
        "self._lost(step, state.attempt, watch, verifies=state.verifying, began=began)",
        "pass",
    ),
    rule(
        "a result is told though the run has moved on",
        "engine/driver.py:_apply",
        "while insist and events is None:",
        "while False:",
        found_by="tests/engine/test_driver.py",
    ),
    rule(
        "a result is recorded",
        "engine/driver.py:_settle_one",
        "await self._ended(step, attempt, _outcome(attempt.end))",
        "pass",
    ),
    rule(
        "who was told otherwise looks anew",
        "engine/driver.py:_commit",
        "if self._loaded.run.seq == before:\n                raise",
        "if False:\n                raise",
        found_by="tests/engine/test_driver.py tests/engine/test_flow.py "
        "tests/engine/test_children.py tests/engine/test_children_and_others.py "
        "tests/engine/test_found_by_simulation.py",
    ),
    rule(
        "a child's end is not insisted on",
        "engine/driver.py:_tell",
        "self._apply(told.command, holds=told.holds)",
        "self._apply(told.command, holds=told.holds, insist=True)",
        found_by="tests/engine/test_driver.py tests/engine/test_flow.py "
        "tests/engine/test_children.py tests/engine/test_children_and_others.py "
        "tests/engine/test_found_by_simulation.py",
    ),
    rule(
        "a driver waits for the end of waits",
        "engine/driver.py:_run",
        "(self._linger and waits_by_itself(self._loaded.run))",
        "False",
        found_by="tests/engine/test_driver.py tests/engine/test_flow.py "
        "tests/engine/test_children.py tests/engine/test_children_and_others.py "
        "tests/engine/test_found_by_simulation.py",
    ),
    rule(
        "the version is read before anything is looked at",
        "engine/driver.py:_run",
        "await self._wait(version)",
        "await self._wait(self._parts.store.version())",
        found_by="tests/engine/test_children.py",
    ),
    rule(
        "a driver that waits looks for changes",
        "engine/driver.py:_wait",
        "self._parts.store.version() != version or ",
        "",
        found_by="tests/engine/test_children.py",
    ),
    rule(
        "a driver wakes for deadlines",
        "engine/driver.py:_alarm",
        "at = (item.at for item in items if item.at is not None and",
        "at = (item.at for item in () if item.at is not None and",
        found_by="tests/engine/test_driver.py",
    ),
    rule(
        "a step that must end is ended", "engine/driver.py:_stop", "return self._watched[step].stop()", "return False"
    ),
    rule(
        "a step of another driver is found before it is ended",
        "engine/driver.py:_stop",
        "return await self._watch(step)",
        "return False",
    ),
    rule(
        "a step that is out of time is ended",
        "engine/driver.py:_time_out",
        "if takes_a_process(run, step):\n            return await self._stop(step)",
        "if takes_a_process(run, step):\n            return False",
    ),
    rule(
        "a step by hand that is out of time ends",
        "engine/driver.py:_time_out",
        "return self._apply(cmd.TimeOut(actor=SYSTEM, now=self._parts.clock.now(), step=step, attempt=attempt))",
        "return False",
        found_by="tests/engine/test_clocks.py",
    ),
    rule(
        "an end that cannot be read is unknown",
        "engine/driver.py:_outcome",
        "except OSError as error:",
        "except ZeroDivisionError as error:",
        found_by="tests/engine/test_driver.py",
    ),
    rule(
        "a queued run asks for its slot",
        "engine/driver.py:_admit",
        "return self._apply(command, admit=check, contents=(contents,))",
        "return self._apply(command, contents=(contents,))",
    ),
    rule(
        "a child waits while its parent stands",
        "engine/driver.py:_admit",
        "if not may_begin(self._runs, run):",
        "if False:",
        found_by="tests/engine/test_children.py tests/engine/test_children_and_others.py",
    ),
    rule(
        "a failed child driver stops no other",
        "engine/driver.py:_came_to_rest",
        "except RunBusy:\n            return",
        "except ZeroDivisionError:\n            return",
        found_by="tests/engine/test_driver.py tests/engine/test_flow.py "
        "tests/engine/test_children.py tests/engine/test_children_and_others.py "
        "tests/engine/test_found_by_simulation.py",
    ),
    rule(
        "a freed slot goes to a child that waits",
        "engine/driver.py:_run",
        "            self._ask_for_slots()\n",
        "",
        found_by="tests/engine/test_children.py",
    ),
    rule(
        "a child that rests is seen by a driver that waits",
        "engine/driver.py:_settle_one",
        "self._came_to_rest(step, task)",
        "pass",
        found_by="tests/engine/test_children.py tests/engine/test_children_and_others.py",
    ),
    rule("a child is made once", "engine/driver.py:_watch_child", "if not is_there(self._parts, child):", "if True:"),
    rule(
        "a step that was given up makes no child",
        "engine/driver.py:_make_child",
        "if run.cancel_requested or run.timed_out or any(step.stuck for step in run.live):",
        "if False:",
        found_by="tests/engine/test_children.py",
    ),
    rule(
        "a child is kept in line",
        "engine/driver.py:_watch_child",
        "if bring_in_line(self._parts, self._runs, run, watched=step):",
        "if False:",
        found_by="tests/engine/test_children.py::test_a_pause_that_dies_before_it_tells_the_child_is_carried_on",
    ),
    rule(
        "a child that must end is ended",
        "engine/driver.py:_stop",
        "if stop(self._parts, self._runs, self._loaded.run, step):",
        "if False:",
    ),
    # engine/recovery.py
    rule(
        "what changed since does not start late",
        "engine/recovery.py:changed_since_recorded",
        "if sha256(found) != run.steps[number].digest:",
        "if False:",
        found_by="tests/engine/test_driver.py",
    ),
    rule(
        "nothing starts late in a run that stops",
        "engine/recovery.py:recovery_order",
        "if starts_nothing(run):",
        "if False:",
    ),
    rule(
        "nothing starts late without its variables",
        "engine/recovery.py:changed_since_recorded",
        "return f\"{', '.join(missing.names)} is not set here\"",
        'return ""',
        found_by="tests/engine/test_driver.py tests/engine/test_approvals.py",
    ),
    # engine/children.py
    rule(
        "an earlier child is gone on with",
        "engine/children.py:next_child",
        "return Next(before.run_id, before.seq)",
        "pass",
        found_by="tests/engine/test_children.py",
    ),
    rule(
        "a cancelled child is not gone on with",
        "engine/children.py:next_child",
        "before.ended is not RunStatus.CANCELLED and ",
        "",
        found_by="tests/engine/test_children.py",
    ),
    rule(
        "a child with other parameters is not gone on with",
        "engine/children.py:next_child",
        " and _has_the_same(before, run, number)",
        "",
        found_by="tests/engine/test_children.py",
    ),
    rule(
        "a cancelled run cancels what runs within it",
        "engine/children.py:_word",
        "if reason := _why_over(run):",
        "if reason := '':",
        found_by="tests/engine/test_children.py "
        "tests/engine/test_children_and_others.py tests/engine/test_found_by_simulation.py",
    ),
    rule(
        "a paused run pauses what runs within it",
        "engine/children.py:_word",
        "if run.pause_requested or run.paused:",
        "if False:",
        found_by="tests/engine/test_children.py",
    ),
    rule(
        "what a pause has paused goes on with it",
        "engine/children.py:_word",
        "return cmd.Resume(actor=SYSTEM, now=now)",
        "return None",
        found_by="tests/engine/test_children.py",
    ),
    rule(
        "a step that is tried again tries its child again",
        "engine/children.py:_word",
        "if is_to_be_retried(run, number, child):",
        "if False:",
    ),
    rule(
        "a retry within a run takes a slot",
        "engine/children.py:_said",
        "admit=lambda _run: check",
        "admit=None",
        found_by="tests/engine/test_found_by_simulation.py",
    ),
    rule(
        "a cancel goes down all the way",
        "engine/children.py:_said",
        "bring_in_line(parts, runs, loaded.run)",
        "pass",
        found_by="tests/engine/test_children.py",
    ),
    rule("an ended run holds nothing back", "engine/children.py:is_called_off", "run.ended is None and ", ""),
    rule(
        "a run that is being ended starts nothing within it",
        "engine/children.py:is_called_off",
        "bool(_why_over(run))",
        "False",
        found_by="tests/engine/test_children.py tests/engine/test_children_and_others.py",
    ),
    # engine/runs.py
    rule("a conflict is decided again", "engine/runs.py:change", "except Conflict:", "except ZeroDivisionError:"),
    rule("a slot is asked for", "engine/runs.py:commit", "admit if takes_slot else None", "None"),
    rule(
        "a run is told before its child goes on",
        "engine/runs.py:commit",
        "            self._tell_parent(loaded.run, goes_on=True)",
        "            pass",
        found_by="tests/engine/test_children.py tests/engine/test_children_and_others.py",
    ),
    rule(
        "a run is told after its child rests",
        "engine/runs.py:commit",
        "self._tell_how_it_stands(after.run)",
        "pass",
    ),
    rule(
        "a word that a child rests is about the child as it is",
        "engine/runs.py:_asked_inside",
        "        if not holds():\n",
        "        if False:\n",
        found_by="tests/engine/test_children.py",
    ),
    rule(
        "a rest that is known is not taken back",
        "engine/runs.py:_tell_parent",
        "step.child_standing if step.child_standing is standing(seen) else None",
        "None",
        found_by="tests/engine/test_children.py",
    ),
    rule(
        "a run within another is made only while its step waits for it",
        "engine/creation.py:make_run",
        "            _check_awaited(runs, within)\n",
        "            pass\n",
        found_by="tests/engine/test_children.py",
    ),
    rule(
        "whoever drives a child tells of it first",
        "engine/driver.py:drive",
        "    runs.tell_around(loaded.run)\n",
        "",
        found_by="tests/engine/test_children.py",
    ),
    rule(
        "a driver's word about a child is about the child as it is",
        "engine/driver.py:_tell",
        "told.command, holds=told.holds",
        "told.command",
        found_by="tests/engine/test_children.py",
    ),
    rule(
        "a child that was changed while it was told of is told of again",
        "engine/runs.py:_tell_how_it_stands",
        "            child = self._as_it_is(child)\n",
        "",
        found_by="tests/engine/test_children.py",
    ),
    rule(
        "a run is told again after its child has gone on",
        "engine/runs.py:commit",
        "if then is not before:",
        "if then is not before and (then is not None or takes_slot):",
        found_by="tests/engine/test_children.py",
    ),
    rule(
        "a run that waits no longer is told nothing",
        "engine/runs.py:_tell_parent",
        "with suppress(IllegalMove, NotFound) if goes_on else suppress(SopwithError):",
        "if True:",
    ),
    rule(
        "a record that was emptied is not read",
        "engine/records.py:load",
        "if not all(payloads):",
        "if False:",
        found_by="tests/engine/test_auditing.py",
    ),
    # engine/engine.py
    rule(
        "what is overdue is settled first",
        "engine/engine.py:approve",
        "self._settle(run_id, actor, all_but=TimeoutAction.APPROVE)",
        "pass",
        found_by="tests/engine/test_gates.py tests/engine/test_approvals.py",
    ),
    rule(
        "a failed run needs a free slot",
        "engine/engine.py:_readmission",
        "if run.ended not in (RunStatus.FAILED, RunStatus.CANCELLED):",
        "if True:",
    ),
    rule(
        "a retry owes no rest",
        "engine/engine.py:_readmission",
        "cooldown=False",
        "cooldown=True",
        found_by="tests/engine/test_driver.py tests/engine/test_concurrency.py tests/engine/test_rollback.py",
    ),
    rule(
        "an answer means what was asked when it came",
        "engine/engine.py:_answer",
        "            if not meant:\n                meant.append",
        "            if True:\n                meant[:] = []\n                meant.append",
        found_by="tests/engine/test_approvals.py tests/engine/test_gates.py",
    ),
    rule(
        "a step decides about no run of its line",
        "engine/brought_about.py:_how_it_belongs",
        "if top.run_id == own.run_id:",
        "if False:",
        found_by="tests/engine/test_children.py tests/engine/test_approvals.py",
    ),
    rule(
        "a step decides nothing by a run that it has brought about",
        "engine/brought_about.py:_tops",
        "for by in _brought_by(each)",
        "for by in ()",
        found_by=_BROUGHT_ABOUT,
    ),
    rule(
        "a step decides nothing by what it brings on within a run",
        "engine/brought_about.py:_tops",
        "for each in _all_within(runs, top)",
        "for each in (top,)",
        found_by=_BROUGHT_ABOUT,
    ),
    rule(
        "a step of a run that cannot be read decides nothing",
        "engine/brought_about.py:check_outside",
        'how = f": nobody can tell here where {inside} comes from"',
        'how = ""',
        found_by=_BROUGHT_ABOUT,
    ),
    rule(
        "what brings a run on is kept along",
        "core/evolve.py:_evolved",
        "run.decided_in | {event.actor.inside}",
        "run.decided_in",
        found_by=_BROUGHT_ABOUT,
    ),
    rule(
        "no door offers what a step may not approve",
        "engine/engine.py:why_not",
        "return refusal.message",
        "pass",
        found_by=_BROUGHT_ABOUT,
    ),
    rule(
        "what goes on besides is not done twice",
        "engine/engine.py:retry",
        "            if besides:",
        "            if False:",
        found_by="tests/engine/test_children_and_others.py",
    ),
    rule(
        "a cancel reaches what goes on besides",
        "engine/engine.py:cancel",
        "Engine(self.parts).cancel(child, actor=actor",
        "(lambda *a, **k: None)(child, actor=actor",
        found_by="tests/engine/test_children_and_others.py",
    ),
    # engine/ticker.py
    rule(
        "a server leaves held runs alone",
        "engine/ticker.py:_consider",
        "if is_driven(self._parts, run_id):",
        "if False:",
        found_by="tests/engine/test_ticker.py tests/engine/test_hearing.py",
    ),
    rule(
        "a server settles what is timed",
        "engine/ticker.py:_settle",
        "while item := self._timed(run, tried):",
        "while item := None:",
        found_by="tests/engine/test_ticker.py",
    ),
    rule(
        "a server drives what is ready",
        "engine/ticker.py:_examine",
        "if ready_now(run, self._now):",
        "if False:",
        found_by="tests/engine/test_ticker.py",
    ),
    rule(
        "a server notices commits",
        "engine/ticker.py:_notice_commits",
        "        self._stirred = True\n",
        "",
        found_by="tests/engine/test_ticker.py",
    ),
    rule(
        "a server looks at what came due",
        "engine/ticker.py:_all_there_is_to_look_at",
        "yield from self._consider_what_is_due()",
        "pass",
    ),
    rule(
        "a server lists what it does not know",
        "engine/ticker.py:_all_there_is_to_look_at",
        "yield from self._list_if_stirred()",
        "pass",
        found_by="tests/engine/test_ticker.py",
    ),
    rule(
        "a server looks again at what was held",
        "engine/ticker.py:_ended",
        "self._put_off(run_id, found.seq, SWEEP_SECS, _Why.HELD)",
        "pass",
        found_by="tests/engine/test_ticker.py tests/engine/test_hearing.py",
    ),
    rule(
        "a server tries again what failed it",
        "engine/ticker.py:_troubled",
        "self._put_off(run_id, seq, trouble.back_off_secs, _Why.TROUBLED)",
        "self._put_off(run_id, seq, 1e9, _Why.TROUBLED)",
        found_by="tests/engine/test_ticker.py",
    ),
    rule(
        "a server that is told to stop stops",
        "engine/ticker.py:serve",
        "watching = [asyncio.ensure_future(_when(stop, server.wake))]",
        "watching = [asyncio.ensure_future(asyncio.sleep(0))]",
        found_by="tests/engine/test_ticker.py",
    ),
    rule(
        "a server lets its runs go",
        "engine/ticker.py:let_go",
        "task.cancel()",
        "pass",
        found_by="tests/engine/test_ticker.py::test_at_its_end_it_lets_go_of_runs_and_the_next_one_takes_them_over",
    ),
    rule(
        "a rested run is looked at again in time",
        "engine/ticker.py:_still_rests",
        "settled.until is None or settled.until > now.at",
        "True",
        found_by="tests/engine/test_ticker.py",
    ),
    rule(
        "a refused run asks again",
        "engine/ticker.py:_ended",
        "self._put_off(run_id, run.seq, self._queue_secs(driven), _Why.QUEUED)",
        "self._put_off(run_id, run.seq, 1e9, _Why.QUEUED)",
        found_by="tests/engine/test_ticker.py",
    ),
    rule(
        "a store that cannot be read is asked seldom",
        "engine/ticker.py:_seconds_to_the_next_look",
        "if self._failing_since_ms is not None:",
        "if False:",
        found_by=(
            "tests/engine/test_ticker.py::test_a_store_that_cannot_be_read_is_asked_seldom_though_a_deadline_has_come"
        ),
    ),
    rule(
        "a process that runs already waits for no place",
        "engine/ticker.py:_begin",
        "found.at_work or ",
        "",
        found_by="tests/engine/test_ticker.py::test_a_process_that_runs_already_waits_for_no_place",
    ),
    rule(
        "what comes due while the store fails is not forgotten",
        "engine/ticker.py:_consider_what_is_due",
        "            summary = self._store.summary(run_id)\n            del self._timers[run_id]\n",
        "            del self._timers[run_id]\n            summary = self._store.summary(run_id)\n",
        found_by=(
            "tests/engine/test_clocks.py::test_what_comes_due_while_the_store_fails_is_looked_at_when_it_works_again"
        ),
    ),
    rule(
        "a driver notices what its own process decides",
        "engine/driver.py:_was_told",
        "summary is not None and summary.seq != self._loaded.run.seq",
        "False",
        found_by=("tests/engine/test_driver.py::test_what_this_process_itself_decides_beside_a_driver_is_noticed"),
    ),
    rule(
        "a word is rung after its commit",
        "engine/runs.py:commit",
        "        self._parts.store.append(loaded.run.run_id, loaded.run.seq, batch, claim=claim,",
        (
            "        self._parts.bell.ring(loaded.run.run_id)\n"
            "        self._parts.store.append(loaded.run.run_id, loaded.run.seq, batch, claim=claim,"
        ),
        found_by="tests/engine/test_hearing.py::test_a_word_is_rung_when_what_it_tells_of_is_stored",
    ),
    rule(
        "what another host drives is driven",
        "engine/claiming.py:driver_of",
        "return None if lease is None else lease.owner",
        "return None",
        found_by="tests/engine/test_claiming.py",
    ),
    rule(
        "a driver stays while somebody else drives a child run",
        "engine/driver.py:_is_followed",
        "step.child_standing is None and is_driven(self._parts, step.child)",
        "False",
        found_by="tests/engine/test_claiming.py",
    ),
    # testing/memory.py keeps the store's promises as sqlite does; the contract suite holds both to them
    rule(
        "an append continues the run",
        "stores/batches.py:check_next",
        "if after_seq != seq:",
        "if False:",
        found_by=_CONTRACT,
    ),
    rule(
        "an append is chained",
        "stores/batches.py:check_next",
        "if first.prev_hash != head:",
        "if False:",
        found_by=_CONTRACT,
    ),
    rule(
        "a run is created once",
        "stores/batches.py:check_new",
        "if exists:",
        "if False:",
        found_by=_CONTRACT,
    ),
    rule("a late writer is fenced off", "testing/memory.py:_check_claim", "if run.epoch != claim.epoch:", "if False:"),
    rule("a claim is given once", "testing/memory.py:claim", "self._driver(shelf, run) is not None or ", ""),
    rule("a claim is newer than those before", "testing/memory.py:claim", "run.epoch += 1", "pass"),
    rule(
        "an old claim frees nothing",
        "testing/memory.py:release",
        "run.epoch == claim.epoch and ",
        "",
        found_by=_CONTRACT,
    ),
    rule("slots are counted where they are taken", "testing/memory.py:append", "if admit is not None:", "if False:"),
    rule(
        "a group is one for all procedures",
        "testing/memory.py:_shares",
        "bool(group) and run.concurrency_group == group",
        "False",
    ),
    rule(
        "a late writer is fenced off (sqlite)",
        "stores/claims.py:check",
        "if newest != claim.epoch:",
        "if False:",
        found_by=_CONTRACT,
    ),
    rule(
        "a claim is a lock (sqlite)",
        "stores/claims.py:take",
        "if not self._locks.acquire(ordinal):",
        "if False and not self._locks.acquire(ordinal):",
        found_by=_CONTRACT,
    ),
    rule(
        "a claim that cannot be recorded is none (sqlite)",
        "stores/claims.py:take",
        "                self._locks.release(ordinal)\n                raise",
        "                raise",
        found_by="tests/contract/test_sqlite_faults.py",
    ),
    rule(
        "an old claim frees nothing (sqlite)",
        "stores/claims.py:free",
        "if held is None or held.epoch != claim.epoch:",
        "if held is None:",
        found_by=_CONTRACT,
    ),
    rule(
        "a freed claim frees its lock (sqlite)",
        "stores/claims.py:free",
        "                self.unlock(held.ordinal, claim)\n",
        "                pass\n",
        found_by=_CONTRACT,
    ),
    rule(
        "a first claim that cannot be recorded is none (sqlite)",
        "stores/claims.py:take_first",
        "            self._locks.release(ordinal)\n            raise",
        "            raise",
        found_by="tests/contract/test_sqlite_faults.py::test_a_first_claim_that_cannot_be_written_keeps_nobody_out",
    ),
    rule(
        "a run that could not be created keeps no lock (sqlite)",
        "stores/sqlite.py:create",
        "self._claims.unlock(ordinal, claim)",
        "pass",
        found_by=(
            "tests/contract/test_sqlite_faults.py::test_a_claim_on_a_run_that_could_not_be_created_keeps_nobody_out"
        ),
    ),
)
