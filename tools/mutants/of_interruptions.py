"""Rules of interruptions and verifications, of a pause that ends what runs, of claims and leases, and of the server.

Longer than other files: a list, an entry for each rule.
"""

from tools.mutants.mutant import rule

_CORE = "tests/core/test_interruption.py"
_ENGINE = "tests/engine/test_interruption.py"
_STOP = "tests/core/test_stop.py"
_CLAIMING = "tests/engine/test_claiming.py"
_SERVER = "tests/engine/test_ticker.py tests/engine/test_hearing.py tests/engine/test_served_long.py"
_STORES = "tests/contract/test_memory_store.py tests/contract/test_sqlite_store.py"

MUTANTS = (
    # core/interruption.py
    rule(
        "a step that says nothing asks",
        "core/interruption.py",
        "_ASK = InterruptRules(policy=OnInterrupt.ASK)",
        "_ASK = InterruptRules(policy=OnInterrupt.RERUN)",
    ),
    rule(
        "a verification is carried out as a script",
        "core/interruption.py:as_verification",
        "executor=EXECUTOR, ",
        "",
        found_by=_ENGINE,
    ),
    rule(
        "a verification runs the command that was said",
        "core/interruption.py:as_verification",
        "script=script, ",
        "",
        found_by=_ENGINE,
    ),
    # core/moves_interrupt.py
    rule(
        "a lost run within a run asks",
        "core/moves_interrupt.py:interrupted",
        " or is_child(run, step.number)",
        "",
        found_by=_CORE,
    ),
    rule(
        "an interruption leads nowhere in a run that ends",
        "core/moves_interrupt.py:_why_ask",
        "if ends := _why_over(run):",
        "if ends := '':",
        found_by=_CORE,
    ),
    rule(
        "what forbids it holds it back",
        "core/moves_interrupt.py:_why_ask",
        "if command.held:",
        "if False:",
        found_by=_CORE,
    ),
    rule(
        "reruns come to an end",
        "core/moves_interrupt.py:_too_often",
        "if step.reruns < MAX_RERUNS:",
        "if True:",
        found_by=_CORE,
    ),
    rule(
        "nothing is verified where nothing starts",
        "core/moves_interrupt.py:_why_ask",
        "rules.policy is OnInterrupt.VERIFY and starts_nothing(run)",
        "False",
        found_by=_CORE,
    ),
    rule(
        "a verification has a time limit",
        "core/moves_interrupt.py:_verification",
        "limit_ms=VERIFY_SECS * 1000",
        "limit_ms=10**12",
        found_by=_CORE,
    ),
    rule(
        "a verification is of one attempt",
        "core/moves_interrupt.py:end_verification",
        "not step.verifying or step.attempt != command.attempt or ",
        "",
        found_by=_CORE,
    ),
    rule(
        "only an exit code tells what was done",
        "core/moves_interrupt.py:_outcome",
        'result.cause == "exit" and result.signal is None',
        "True",
        found_by=_CORE,
    ),
    rule(
        "exit 1 says that it was not done",
        "core/moves_interrupt.py:_outcome",
        "1: _NOT_DONE",
        "1: _DONE",
        found_by=_CORE,
    ),
    rule(
        "any other exit code says nothing",
        "core/moves_interrupt.py:_outcome",
        "result.exit_code, _UNKNOWN)",
        "result.exit_code, _NOT_DONE)",
        found_by=_CORE,
    ),
    rule(
        "reruns after verifications come to an end",
        "core/moves_interrupt.py:_why_decide",
        "_why_over(run) or _too_often(step)",
        "_why_over(run)",
        found_by=_CORE,
    ),
    rule(
        "what was not done is not run again in a run that ends",
        "core/moves_interrupt.py:_why_decide",
        "_why_over(run) or _too_often(step)",
        "_too_often(step)",
        found_by=_CORE,
    ),
    rule(
        "a verification that is ended at its limit is out of time",
        "core/moves_interrupt.py:cause_of",
        "elapsed_ms(verification.started, command.now) >= verification.limit_ms",
        "False",
        found_by=_CORE,
    ),
    rule(
        "what a verification completes says so",
        "core/moves_interrupt.py:_completed",
        "verified=True",
        "verified=False",
        found_by=_CORE,
    ),
    # core/evolve_verification.py and evolve
    rule(
        "why a person decides after a verification is told",
        "core/evolve_verification.py:verified",
        " if body.because else step.error",
        " if False else step.error",
        found_by=_CORE,
    ),
    rule(
        "reruns are counted",
        "core/evolve.py",
        "reruns = step.reruns + (body.cause == ev.INTERRUPTED)",
        "reruns = step.reruns",
        found_by=_CORE,
    ),
    rule(
        "reruns are counted anew in a new visit only",
        "core/evolve_again.py",
        "reruns=0 if new_visit else step.reruns,",
        "reruns=0,",
        found_by=_CORE,
    ),
    # rollback and envelope
    rule(
        "a rollback is not run again because its step would be",
        "core/rollback.py:as_rollback",
        "on_interrupt=UNSET, ",
        "",
        found_by="tests/core/test_rollback.py tests/core/test_interruption.py tests/engine/test_rollback.py",
    ),
    rule(
        "an envelope of a step that asks is what it was",
        "core/envelope.py:_on_interrupt",
        "if rules.policy is OnInterrupt.ASK:",
        "if False:",
        found_by="tests/core/test_envelope.py tests/engine/test_interruption.py",
    ),
    # a pause that ends what runs
    rule(
        "to end what runs is news after a pause",
        "core/moves_person.py:pause",
        "(run.pause_requested and not stops)",
        "run.pause_requested",
        found_by=_STOP,
    ),
    rule(
        "what is being ended cannot be taken back",
        "core/moves_person.py:withdraw_pause",
        "if run.stopping:",
        "if False:",
        found_by=_STOP,
    ),
    rule(
        "a step that was stopped is interrupted",
        "core/moves_driver.py:finish",
        'command.result.cause == "cancelled" and run.stopping and',
        "False and run.stopping and",
    ),
    rule(
        "a cancel outweighs a stop",
        "core/moves_driver.py:finish",
        " and not run.cancel_requested and not run.timed_out:",
        ":",
        found_by=_STOP,
    ),
    rule(
        "a stop does not wait for a step by hand",
        "core/conclude.py:_stop",
        "pauses = run.stopping or (run.pause_requested and children(run) and not run.timed_out)",
        "pauses = False",
        found_by=_STOP,
    ),
    rule(
        "a stop that interrupts nothing is a pause",
        "core/conclude.py:_paused",
        "if not unanswered or (run.stopping and not interrupted):",
        "if not unanswered:",
        found_by=_STOP,
    ),
    rule(
        "a stop ends what runs",
        "core/due.py:_looked_after",
        "DueKind.STOP_STEP if run.stopping",
        "DueKind.WATCH_STEP if run.stopping",
        found_by="tests/core/test_stop.py",
    ),
    rule(
        "a stop tells a run within a run, and ends it not",
        "core/due.py:_looked_after",
        " and not is_child(run, number)",
        "",
        found_by="tests/core/test_stop.py tests/engine/test_children.py",
    ),
    rule(
        "who stopped first is named",
        "core/evolve.py:_apply",
        "stopping = run.stopping or (",
        "stopping = (",
        equivalent=(
            "while what runs is being ended the core writes no second request, neither for a pause nor for a stop; this"
            " line says the same once more"
        ),
    ),
    rule(
        "a stop stops what runs within",
        "engine/children.py:_word",
        "if run.stopping and child.ended is None and",
        "if False and",
        found_by="tests/engine/test_children.py",
    ),
    rule(
        "a run that is being stopped needs a driver, not an event",
        "engine/engine.py:resume",
        "(run.stopping or not run.pause_requested)",
        "not run.pause_requested",
        found_by=f"{_ENGINE} tests/engine/test_driver.py tests/engine/test_found_by_simulation.py",
    ),
    rule(
        "a run that is being ended runs, however what is within it rests",
        "core/run.py:status_of",
        "if (run.cancel_requested or is_running_out(run)) and running_processes(run):",
        "if False:",
        found_by="tests/core/test_children.py",
    ),
    # engine/driver.py and recovery
    rule(
        "what still runs is not run again",
        "engine/driver.py:_held",
        "if lost.still_runs:",
        "if False:",
        found_by=_ENGINE,
    ),
    rule(
        "what has changed since is not run again by itself",
        "engine/driver.py:_held",
        "held = changed_since_recorded(self._parts, run, step)",
        'held = ""',
        found_by=_ENGINE,
    ),
    rule(
        "from what never began nothing follows by itself",
        "engine/driver.py:_launch",
        "began = not order.withheld or watch.reason != order.withheld",
        "began = True",
        found_by=_ENGINE,
    ),
    rule(
        "the executor of scripts verifies",
        "engine/driver.py:_executor",
        "VERIFIER if verifies else ",
        "",
        found_by=_ENGINE,
    ),
    rule(
        "a verification that was begun is recovered as one",
        "engine/recovery.py:recovery_order",
        "if run.steps[number].verifying:",
        "if False:",
        found_by=_ENGINE,
    ),
    rule(
        "a run within a run that cannot begin fails its step, if it still waits",
        "engine/driver.py:_not_begun",
        "return self._apply(cmd.Finish(actor=SYSTEM, now=now, step=step, attempt=attempt, result=result))",
        "return self._apply(cmd.Finish(actor=SYSTEM, now=now, step=step, attempt=attempt, result=result), insist=True)",
        found_by="tests/engine/test_children.py tests/engine/test_children_and_others.py",
    ),
    # engine/claiming.py, ports and stores: leases
    rule(
        "a claim is renewed when half its lease is over",
        "engine/claiming.py:renew_if_due",
        "self._parts.store.renew(self._claim, self._parts.clock.now().at)",
        "pass",
        found_by=_CLAIMING,
    ),
    rule(
        "a short drive renews nothing",
        "engine/claiming.py:renew_if_due",
        "if not self.is_due:",
        "if False:",
        found_by=_CLAIMING,
    ),
    rule(
        "a store that cannot be written to stops no driver",
        "engine/claiming.py:renew_if_due",
        "with suppress(StoreError):",
        "with suppress(ZeroDivisionError):",
        found_by=_CLAIMING,
    ),
    rule(
        "a driver that waits renews",
        "engine/driver.py:_wait",
        "if self._renewal.is_due:",
        "if False:",
        found_by=_CLAIMING,
    ),
    rule(
        "who is kept out is told by whom",
        "engine/claiming.py:busy",
        "if lease is not None:",
        "if False:",
        found_by=_CLAIMING,
    ),
    rule(
        "a lease keeps out no process of its own host",
        "ports.py:keeps_out",
        "return not is_here and ",
        "return ",
        found_by=f"{_STORES} {_CLAIMING}",
    ),
    rule(
        "a lease comes to its end",
        "ports.py:keeps_out",
        "return not is_here and now < self.until",
        "return not is_here",
        found_by=f"{_STORES} {_CLAIMING}",
    ),
    rule(
        "a lease keeps other hosts out",
        "testing/memory.py:claim",
        " or (lease is not None and lease.keeps_out(owner, now))",
        "",
        found_by=f"{_STORES} {_CLAIMING}",
    ),
    rule(
        "an old claim is not renewed",
        "testing/memory.py:renew",
        "_check_claim(run, claim)",
        "pass",
        found_by=_STORES,
    ),
    rule(
        "a lease keeps other hosts out (sqlite)",
        "stores/claims.py:_record",
        "if lease is not None and lease.keeps_out(owner, now):",
        "if False:",
        found_by=_STORES,
    ),
    rule(
        "an old claim is not renewed (sqlite)",
        "stores/claims.py:renew",
        "if newest != claim.epoch:",
        "if False:",
        found_by=_STORES,
    ),
    rule(
        "a restored copy knows no earlier claim",
        "stores/sqlite.py:begin_anew",
        'self._db.run("void_claims", epochs=_EPOCHS_OF_A_HISTORY, now=milliseconds(now))',
        "pass",
        found_by="tests/backup",
    ),
    # engine/ticker.py
    rule(
        "what was just changed is left to whoever changed it",
        "engine/ticker.py:_consider",
        "elif not left and (grace_secs := self._grace_left(summary)):",
        "elif not left and (grace_secs := 0):",
        found_by=_SERVER,
    ),
    rule(
        "a word that nobody drives on is believed at once",
        "engine/ticker.py:_consider",
        "if left and later is not None and later.why in (_Why.FRESH, _Why.HELD):",
        "if False:",
        found_by=_SERVER,
    ),
    rule(
        "after a jump of the clock deadlines are read anew",
        "engine/ticker.py:_notice_a_jump",
        "self._jumped = True",
        "pass",
        found_by=f"{_SERVER} tests/engine/test_clocks.py",
    ),
    rule(
        "what counts by the boot clock is looked at by it",
        "engine/ticker.py:_rest",
        "self._timers[run.run_id] = by_boot",
        "pass",
        found_by=f"{_SERVER} tests/engine/test_clocks.py",
    ),
    rule(
        "a store that stays unreadable ends the server",
        "engine/ticker.py:_unreadable",
        "raise error",
        "pass",
        found_by=_SERVER,
    ),
)
