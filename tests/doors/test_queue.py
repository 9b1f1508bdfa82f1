"""Runs that wait for a slot, and several processes at one run."""

from __future__ import annotations

from .workshop import Workshop, end_process, eventually


def test_a_detached_run_goes_on_when_its_slot_is_free(workshop: Workshop) -> None:
    workshop.steps("single", "?Act | echo acted", maxConcurrent=1)
    first = workshop.started("single")
    told = workshop.process("run", "single", "--queue", "--detach")
    assert "is queued and starts when its turn comes" in told.out
    second = workshop.run_id("single")
    assert workshop.json("status", second)["status"] == "pending"
    workshop.json("cancel", first)
    eventually(lambda: workshop.json("status", second)["status"] == "awaiting_approval")


def test_the_inbox_shows_a_queued_run(workshop: Workshop) -> None:
    workshop.steps("single", "?Act | echo acted", maxConcurrent=1)
    workshop.started("single")
    second = workshop.started("single", "--queue")
    found = {item["runId"]: item for item in workshop.json("inbox")["items"]}
    assert (found[second]["kind"], found[second]["next"]) == ("queued", f"sop resume {second}")
    assert "sop resume asks for its slot again" in workshop.sop("inbox").out


def test_approvals_at_once_agree_about_the_run(workshop: Workshop) -> None:
    workshop.steps("gated", "?Act | sleep 0.3")
    run = workshop.started("gated")
    processes = [workshop.background("approve", run, "--step", "1") for _ in range(5)]
    try:
        told = [process.communicate(timeout=30) for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                end_process(process)
    # 0: it completed, or goes on in another process; 5: another approval came first
    assert {process.returncode for process in processes} <= {0, 5}, told
    assert 0 in {process.returncode for process in processes}


def test_processes_that_start_runs_of_one_group_at_once_start_one(workshop: Workshop) -> None:
    for name in ("deploy", "migrate"):
        workshop.steps(name, "?Act | echo acted", concurrencyGroup="'to-' + params.to")
    processes = [workshop.background("run", name, "--param", "to=eu") for name in ("deploy", "migrate") * 3]
    try:
        told = [process.communicate(timeout=60) for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                end_process(process)
    assert sorted(process.returncode for process in processes) == [3, 5, 5, 5, 5, 5], told
    (run,) = workshop.json("history")["runs"]
    assert run["concurrencyGroup"] == "to-eu"
    assert "one at a time in the group to-eu" in workshop.sop("status", run["runId"]).out


def test_the_group_is_shown_before_anything_runs(workshop: Workshop) -> None:
    workshop.steps("deploy", "Act | echo acted", concurrencyGroup="'to-' + params.to")
    assert "one at a time in 'to-' + params.to" in workshop.sop("show", "deploy").out
    assert "one at a time in the group to-eu" in workshop.sop("run", "deploy", "--dry-run", "--param", "to=eu").out
    assert workshop.json("run", "deploy", "--dry-run", "--param", "to=eu")["concurrencyGroup"] == "to-eu"


def test_a_run_whose_group_is_not_known_is_a_bad_parameter(workshop: Workshop) -> None:
    workshop.steps("deploy", "Act | echo acted", concurrencyGroup="'to-' + params.to")
    told = workshop.sop("run", "deploy")
    assert told.code == 2
    assert "its concurrency group is not known: there is no to" in told.err
    assert workshop.json("history")["runs"] == []
