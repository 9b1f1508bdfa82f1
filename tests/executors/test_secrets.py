"""A step that is given secrets: nothing of them is shown or left behind, whoever watches it and whatever dies."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sopwith.core.commands import StepResult
from sopwith.core.masking import Mask
from sopwith.engine.outputs import output_of
from sopwith.executors import masked, watch
from sopwith.executors.launch import Launch, launches
from sopwith.executors.masked import PIECE, WITHHELD
from sopwith.executors.spool import CHUNK, Log
from sopwith.ports import Confidential, Lost, WorkOrder
from sopwith.testing.contract_executor import cancelled, ok, run

from .bench import FOREVER, executor, keeper_of, kill, open_gate, order, until

SECRET = "it's s3cr3t/and+long"
GIVEN = Confidential(values=(SECRET,), digest="d1")
ECHO = 'echo "<$TOKEN>"; '


def given(folder: Path, text: str, confidential: Confidential = GIVEN, **changes: Any) -> WorkOrder:
    return order(
        folder,
        text,
        environment={"TOKEN": SECRET},
        confidential=confidential,
        parameters_json=msgspec.json.encode({"token": SECRET}),
        **changes,
    )


def whole(work: WorkOrder) -> tuple[StepResult, bytes]:
    async def story() -> tuple[StepResult, bytes]:
        shown = bytearray()
        watch = await executor().start(work, shown.extend)
        return ok(await watch.wait()), bytes(shown)

    return run(story())


def recovered(work: WorkOrder) -> tuple[StepResult | Lost, bytes]:
    async def story() -> tuple[StepResult | Lost, bytes]:
        shown = bytearray()
        found = await executor().recover(work, shown.extend)
        return (found if isinstance(found, Lost) else await found.wait()), bytes(shown)

    return run(story())


def left_with(folder: Path, secret: str = SECRET) -> list[str]:
    """The files in which the secret is, in any of these forms."""
    forms = (secret.encode(), base64.b64encode(secret.encode())[:16])
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path.name for path in files if any(form in path.read_bytes() for form in forms)]


async def begun(work: WorkOrder) -> asyncio.Task[StepResult | Lost]:
    """Starts the step; its watch has shown something."""
    printed = asyncio.Event()
    watch = await executor().start(work, lambda _: printed.set())
    waiting = asyncio.ensure_future(watch.wait())
    await asyncio.wait_for(printed.wait(), 20)
    return waiting


def test_what_is_shown_and_kept_is_masked(folder):
    work = given(folder, 'set -x; echo "<$TOKEN>"; echo -n "$TOKEN" | base64; cat "$SOP_PARAMS"')
    result, shown = whole(work)
    log = (work.folder / "output.log").read_bytes()
    assert log == shown == result.output.encode()
    assert b"<***>" in shown
    assert b'{"token":"***"}' in shown
    assert result.output_bytes == len(log)
    assert result.warnings == ()
    assert left_with(folder) == []


def test_a_secret_that_comes_in_two_pieces_is_masked(folder):
    work = given(folder, f'printf "%s" "<${{TOKEN:0:9}}"; {FOREVER}; printf "%s\\n" "${{TOKEN:9}}>"')

    async def story() -> StepResult | Lost:
        waiting = await begun(work)
        await open_gate(work)
        return await waiting

    assert ok(run(story())).output == "<***>\n"
    assert (work.folder / "output.log").read_bytes() == b"<***>\n"


def test_what_only_began_like_a_secret_is_shown_in_the_end(folder):
    work = given(folder, 'printf "%s" "it\'s s3"')
    result, shown = whole(work)
    assert shown == b"it's s3" == (work.folder / "output.log").read_bytes()
    assert result.output == "it's s3"


def test_what_a_launch_that_never_began_was_to_be_given_is_gone(folder):
    work = given(folder, ECHO)
    executor()._prepare(work, Launch(work.folder / "0"))
    assert ok(recovered(work)[0]).output == "<***>\n"
    assert left_with(folder) == []


def test_an_output_that_holds_a_secret_is_dropped_with_a_warning(folder):
    lines = 'echo "url=https://x/?t=$TOKEN"; echo "list:=[\\"$TOKEN\\"]"; echo plain=1'
    result, _ = whole(given(folder, f'{{ {lines}; }} >> "$SOP_OUTPUT"'))
    assert result.outputs == {"plain": "1"}
    assert result.warnings == (
        "output url was dropped: it holds a secret",
        "output list was dropped: it holds a secret",
    )
    assert left_with(folder) == []


def test_a_second_reading_finds_what_the_first_one_kept(folder):
    """An engine that died between the step's end and its record: the raw files are gone, the result is the same."""
    work = given(folder, ECHO + 'echo "a=$TOKEN" >> "$SOP_OUTPUT"; echo b=2 >> "$SOP_OUTPUT"')
    first, _ = whole(work)
    second, shown = recovered(work)
    assert second == first
    assert shown == b"<***>\n"


def test_raw_files_are_there_only_while_the_step_runs(folder):
    work = given(folder, ECHO + FOREVER)

    async def story() -> tuple[Path | None, bytes, StepResult]:
        waiting = await begun(work)
        (launch,) = launches(work.folder)
        assert launch.spool.exists()
        assert launch.secret_params.exists()
        assert not launch.params.exists()
        for path in (launch.spool, launch.secret_params, launch.masked):
            assert path.stat().st_mode & 0o077 == 0
        looked_at = output_of(work.folder)
        told = looked_at.read_bytes() if looked_at else b""
        await open_gate(work)
        return looked_at, told, ok(await waiting)

    looked_at, told, _ = run(story())
    assert looked_at is not None
    assert looked_at.name == "masked"
    assert told == b"<***>\n"
    assert {path.name for path in (work.folder / "0").iterdir()}.isdisjoint({"spool", "params.secret.json", "values"})


def test_an_engine_that_knows_the_secrets_goes_on_masking(folder):
    work = given(folder, ECHO + FOREVER + "; " + ECHO)

    async def story() -> tuple[StepResult | Lost, bytes]:
        await cancelled(await begun(work))
        shown = bytearray()
        found = await executor().recover(work, shown.extend)
        assert not isinstance(found, Lost)
        await open_gate(work)
        return await found.wait(), bytes(shown)

    result, shown = run(story())
    assert shown == b"<***>\n<***>\n"
    assert ok(result).output.encode() == shown
    assert left_with(folder) == []


@pytest.mark.parametrize(
    "known", [Confidential(), Confidential(digest="d2"), Confidential(values=("another-one",), digest="d2")]
)
def test_an_engine_that_lacks_a_secret_withholds_what_it_cannot_mask(folder, known):
    work = given(folder, ECHO + FOREVER + "; " + ECHO)

    async def story() -> tuple[StepResult | Lost, bytes]:
        await cancelled(await begun(work))
        shown = bytearray()
        found = await executor().recover(msgspec.structs.replace(work, confidential=known), shown.extend)
        assert not isinstance(found, Lost)
        await open_gate(work)
        return await found.wait(), bytes(shown)

    result, shown = run(story())
    kept = f"<***>\n… {WITHHELD} …\n"
    assert shown.decode() == ok(result).output == (work.folder / "output.log").read_text() == kept
    assert ok(result).warnings == (WITHHELD,)
    assert left_with(folder) == []
    again, _ = recovered(msgspec.structs.replace(work, confidential=known))
    assert ok(again).output == kept


def test_outputs_that_cannot_be_checked_fail_the_step(folder):
    work = given(folder, ECHO + FOREVER + '; echo a=1 >> "$SOP_OUTPUT"')

    async def story() -> StepResult | Lost:
        await cancelled(await begun(work))
        found = await executor().recover(msgspec.structs.replace(work, confidential=Confidential()), lambda _: None)
        assert not isinstance(found, Lost)
        await open_gate(work)
        return await found.wait()

    result = ok(run(story()))
    assert (result.cause, result.outputs) == ("output", {})
    assert "withheld" in result.error


def test_a_log_that_was_made_outlives_an_engine_that_lacks_the_secret(folder):
    work = given(folder, ECHO)
    whole(work)
    (work.folder / "0" / "spool").write_bytes(f"<{SECRET}>\n".encode())  # it died before the spool was removed
    result, shown = recovered(msgspec.structs.replace(work, confidential=Confidential()))
    assert shown == b"<***>\n" == (work.folder / "output.log").read_bytes()
    assert ok(result).output == "<***>\n"
    assert left_with(folder) == []


def test_a_log_that_was_cut_still_stands_for_all_of_it_where_the_secret_is_lacking(folder, monkeypatch):
    monkeypatch.setattr("sopwith.executors.spool.LOG_HALF_BYTES", 1000)
    work = given(folder, 'for i in {1..5000}; do echo "$i $TOKEN"; done')
    first, _ = whole(work)
    (work.folder / "0" / "spool").write_bytes(SECRET.encode() * 9)  # it died before the spool was removed
    result, _ = recovered(msgspec.structs.replace(work, confidential=Confidential()))
    assert (ok(result).output_bytes, ok(result).output_sha256) == (first.output_bytes, first.output_sha256)
    assert left_with(folder) == []


@pytest.mark.parametrize("earlier", [CHUNK - 1, CHUNK - 20, CHUNK, CHUNK + 5])
def test_that_the_rest_is_withheld_is_told_once_wherever_a_piece_ends(folder, earlier):
    launch = Launch(folder)
    (folder / "spool").write_bytes(b"")
    (folder / "masked").write_bytes(b"." * earlier)
    told = []
    for _ in range(3):
        reader = masked._Withheld(launch)
        told.append(b"".join(iter(reader.read, None)))
        reader.close()
    assert told == [b"." * earlier + f"… {WITHHELD} …\n".encode()] * 3
    assert (folder / "masked").read_bytes() == told[0]


def test_a_lost_attempt_leaves_nothing_raw(folder):
    work = given(folder, ECHO + 'echo "a=$TOKEN" >> "$SOP_OUTPUT"; ' + FOREVER)

    async def story() -> StepResult | Lost:
        waiting = await begun(work)
        kill(keeper_of(work))
        return await waiting

    lost = run(story())
    assert isinstance(lost, Lost)
    assert lost.output == "<***>\n"
    assert left_with(folder) == []


def test_a_log_too_long_is_masked_and_cut(folder, monkeypatch):
    monkeypatch.setattr("sopwith.executors.spool.LOG_HALF_BYTES", 1000)
    work = given(folder, 'for i in {1..500}; do echo "$i $TOKEN"; done')
    result, shown = whole(work)
    log = (work.folder / "output.log").read_bytes()
    assert len(log) < 2100
    assert b"bytes left out" in log
    assert result.output_bytes == len(shown)
    assert result.warnings == ()
    assert left_with(folder) == []
    assert ok(recovered(work)[0]).output_sha256 == result.output_sha256


def test_a_disk_that_is_full_keeps_no_raw_log(folder, monkeypatch):
    class Full:
        def __init__(self, *_: object, **__: object) -> None: ...

        def write(self, _: object) -> int:
            raise OSError(28, "No space left on device")

        def close(self) -> None: ...

    monkeypatch.setattr(masked, "open", Full, raising=False)
    work = given(folder, ECHO)
    result, shown = whole(work)
    assert shown == b"<***>\n"
    assert result.output == "<***>\n"
    assert result.warnings == ("its log could not be kept whole: No space left on device",)
    assert left_with(folder) == []


def test_one_look_takes_no_more_than_a_piece_though_nothing_may_be_shown(folder):
    (folder / "spool").write_bytes(b"0" * 5 * PIECE)
    launch = Launch(folder)
    reader = masked._Masked(launch, Mask(["0" * 8]))
    looks = [(reader.read(), reader.excerpt.taken_bytes) for _ in range(6)]
    assert [shown for shown, _ in looks] == [b"***", b"", b"", b"", b"", None]
    assert [taken for _, taken in looks] == [PIECE, 2 * PIECE, 3 * PIECE, 4 * PIECE, 5 * PIECE, 5 * PIECE]
    assert reader.end() == b""
    assert launch.masked.read_bytes() == b"***"
    reader.close()


def test_other_work_goes_on_while_nothing_may_be_shown(folder):
    work = given(folder, "printf '%0524288d' 0", Confidential(values=("0" * 8,), digest="d1"))
    looks = []

    async def story() -> StepResult:
        watch = await executor().start(work, lambda _: None)
        waiting = asyncio.ensure_future(watch.wait())
        while not waiting.done():
            await asyncio.sleep(0)
            looks.append(watch._reader.excerpt.taken_bytes)
        return ok(await waiting)

    assert run(story()).output == "***"
    assert len({taken for taken in looks if 0 < taken < 524288}) >= 4


def without_room(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_output_of_which_no_log_could_be_made_is_kept_masked(folder, monkeypatch):
    work = given(folder, ECHO)
    with monkeypatch.context() as full:
        full.setattr(Log, "keep", without_room)
        result, _ = whole(work)
    assert result.warnings == ("its log could not be kept: No space left on device",)
    assert left_with(folder) == []
    kept = output_of(work.folder)
    assert kept is not None
    assert kept.read_bytes() == b"<***>\n"


@pytest.mark.parametrize("known", [GIVEN, Confidential()])
def test_the_log_is_made_later_from_what_was_kept_masked(folder, monkeypatch, known):
    work = given(folder, ECHO)
    with monkeypatch.context() as full:
        full.setattr(Log, "keep", without_room)
        whole(work)
    result, shown = recovered(msgspec.structs.replace(work, confidential=known))
    assert shown == b"<***>\n" == (work.folder / "output.log").read_bytes()
    assert ok(result).output == "<***>\n"
    assert not (work.folder / "0" / "masked").exists()
    assert ok(recovered(work)[0]).output == "<***>\n"


def test_a_secret_of_few_characters_is_not_masked_and_that_is_told(folder):
    result, _ = whole(given(folder, "echo abcde", Confidential(values=("abcde",), digest="d")))
    assert result.output == "abcde\n"
    assert result.warnings == ("a secret of fewer than 6 characters was not masked in its output",)


def test_a_step_without_secrets_pays_nothing(folder, monkeypatch):
    monkeypatch.setattr(watch.Secrecy, "mask", property(lambda _: pytest.fail("nothing is to be masked")))
    work = order(folder, 'echo hello; echo "$SOP_PARAMS"')
    result, _ = whole(work)
    assert result.output.endswith("/0/params.json\n")
    left = {path.name for path in (work.folder / "0").iterdir()}
    assert left == {"keeper.err", "params.json", "result", "script", "started", "values", "void"}
    assert not (work.folder / "output.whole").exists()


def test_what_a_step_that_never_starts_was_to_be_given_is_gone(folder, monkeypatch):
    def fail(_: Launch) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("sopwith.executors.keeper_process.start_keeper", fail)
    assert whole(given(folder, ECHO))[0].cause == "start"
    assert left_with(folder) == []


def test_the_secret_is_on_no_argument_vector(folder):
    work = given(folder, FOREVER)

    async def story() -> list[bytes]:
        watch = await executor().start(work, lambda _: None)
        child = until(lambda: launches(work.folder)[0].marks().child)
        keeper = keeper_of(work)
        told = [Path(f"/proc/{each.pid}/cmdline").read_bytes() for each in (child, keeper)]
        await open_gate(work)
        await watch.wait()
        return told

    assert not any(SECRET.encode() in line for line in run(story()))
