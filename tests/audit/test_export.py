"""Bundles: what an auditor gets verifies without us, and whatever is changed in it is found and named."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.audit.given import PROCEDURE, Ledger, batches, envelope, put, run_id

from sopwith.audit.checkpoints import Checkpointer
from sopwith.audit.export import Exported, Exporter
from sopwith.audit.statements import Checkpoint, line_of, read
from sopwith.core import events as ev
from sopwith.core.procedure import sha256
from sopwith.errors import BadRequest, NotFound, StoreError
from sopwith.testing.clock import START

TOOL = Path(__file__).parents[2] / "tools" / "verify_audit.py"
TRAP = "<script>alert('x')</script>\u202eevil\x1b[2J"


def exporter(ledger: Ledger) -> Exporter:
    return Exporter(ledger.log, ledger.log, ledger.store.content, ledger.key, ledger.checkpointer)


def verify(folder: Path, *options: object) -> tuple[int, str]:
    """The tool in a process that could not import anything of ours."""
    argv = [sys.executable, "-I", "-S", str(TOOL), str(folder), *map(str, options)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ledger, Exported]:
    """Nine runs in a log with several checkpoints; three of them in a bundle."""
    ledger = Ledger(tmp_path_factory.mktemp("made"))
    ledger.fill(8, checkpoint_every=3)
    put(ledger.store, batches(8)[0])
    chosen = [run_id(2), run_id(8), run_id(0), run_id(2)]
    return ledger, exporter(ledger).export(ledger.folder / "bundle", chosen, now=START)


@pytest.fixture
def bundle(made: tuple[Ledger, Exported], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[1].folder, tmp_path / "bundle"))


@pytest.fixture(scope="module")
def tool() -> Iterator[Any]:
    """The tool as a module, for what would take too long in a process each."""
    sys.path.insert(0, str(TOOL.parent))
    try:
        import verify_audit

        yield verify_audit
    finally:
        sys.path.remove(str(TOOL.parent))


# what is in it


def test_a_bundle_verifies_with_the_standard_library_alone(made: tuple[Ledger, Exported]) -> None:
    ledger, exported = made
    assert (exported.runs, exported.events, exported.failures) == (3, 25, ())
    code, text = verify(exported.folder, "--checkpoint", ledger.copy, "--key", ledger.key.public_key.hex())
    assert code == 0, text
    assert "fine: 25 events of 3 runs, 0 without content" in text
    assert "agrees up to event 85" in text
    assert (
        "proven: nothing here was edited, added, left out or moved since it was signed\nnot proven: that what" in text
    )
    assert "none was given: the key's owner could have made it up" in verify(exported.folder)[1]


def test_the_tool_is_small_and_imports_nothing_of_ours() -> None:
    text = TOOL.read_text()
    assert len(text.splitlines()) < 300
    imported = {line.split()[1] for line in text.splitlines() if line.startswith(("import ", "from "))}
    assert imported <= {*sys.stdlib_module_names, "__future__"}


def test_a_bundle_holds_procedures_and_envelopes_under_their_digests(made: tuple[Ledger, Exported]) -> None:
    folder = made[1].folder
    assert (folder / "procedures" / f"{sha256(PROCEDURE)}.json").read_bytes() == PROCEDURE
    assert len(list((folder / "envelopes").iterdir())) == 3
    assert (folder / "envelopes" / f"{sha256(envelope(run_id(0)))}.json").read_bytes() == envelope(run_id(0))


def test_events_look_as_in_the_views(made: tuple[Ledger, Exported]) -> None:
    lines = [json.loads(line) for line in (made[1].folder / "events.jsonl").read_text().splitlines()]
    assert [(line["runId"], line["seq"]) for line in lines[:10]] == [(run_id(2), seq) for seq in range(1, 11)]
    assert {"timestamp", "eventType", "runId", "seq", "actor", "details", "prevHash", "hash"} <= lines[0].keys()


def test_files_are_for_their_owner_alone(made: tuple[Ledger, Exported]) -> None:
    modes = {path.stat().st_mode & 0o777 for path in made[1].folder.rglob("*") if path.is_file()}
    assert (made[1].folder.stat().st_mode & 0o777, modes) == (0o700, {0o600})


def test_an_older_checkpoint_from_outside_is_enough(made: tuple[Ledger, Exported], tmp_path: Path) -> None:
    first = made[0].copy.read_bytes().splitlines()[0]
    (tmp_path / "kept.json").write_bytes(first)
    code, text = verify(made[1].folder, "--checkpoint", tmp_path / "kept.json")
    assert code == 0, text
    assert f"agrees up to event {read(Checkpoint, first).size}" in text


def test_a_checkpoint_that_the_store_has_lost_can_be_asked_for(made: tuple[Ledger, Exported], tmp_path: Path) -> None:
    ledger = made[0]
    copy = tmp_path / "kept.json"
    copy.write_bytes(ledger.copy.read_bytes().splitlines()[0])
    size = read(Checkpoint, copy.read_bytes()).size
    kept = ledger.log.checkpoints(size - 1, 1)[0]
    ledger.by_hand("delete from checkpoints where size = :size", size=size)
    exporter(ledger).export(tmp_path / "without", [run_id(1)], now=START)
    assert "no checkpoint that this bundle has a proof for" in verify(tmp_path / "without", "--checkpoint", copy)[1]
    exporter(ledger).export(tmp_path / "with", [run_id(1)], now=START, sizes=[size])
    assert verify(tmp_path / "with", "--checkpoint", copy)[0] == 0
    ledger.log.keep_checkpoint(kept)


def test_a_bundle_of_dropped_runs_verifies_by_its_tombstones(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.fill(4)
    now = START + timedelta(days=400)
    ledger.fill(1, first=7, at=now)
    ledger.retention().sweep([run_id(1)], days=30, now=now)
    exported = exporter(ledger).export(tmp_path / "bundle", [run_id(1), run_id(7)], now=now)
    code, text = verify(exported.folder, "--checkpoint", ledger.copy)
    assert code == 0, text
    assert "10 without content" in text
    (exported.folder / "tombstones.jsonl").unlink()
    code, text = verify(exported.folder)
    assert code == 1
    assert f"event 1 of {run_id(1)} (line 1 of events.jsonl) is bad: its content is gone" in text


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda exporting, folder: exporting.export(folder / "new", ["sop_run_nobody"], now=START), NotFound),
        (lambda exporting, folder: exporting.export(folder, [run_id(1)], now=START), BadRequest),
    ],
)
def test_an_unknown_run_or_a_full_folder_is_refused(
    made: tuple[Ledger, Exported], tmp_path: Path, call: Callable[[Exporter, Path], Any], error: type[Exception]
) -> None:
    (tmp_path / "mine.txt").write_text("do not touch")
    with pytest.raises(error):
        call(exporter(made[0]), tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "do not touch"


def test_an_empty_record_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        exporter(Ledger(tmp_path)).export(tmp_path / "bundle", [run_id(1)], now=START)


@pytest.mark.parametrize("statement", ["delete from events where position = 3", "update events set payload = x'00'"])
def test_a_record_that_is_torn_cannot_be_exported(tmp_path: Path, statement: str) -> None:
    ledger = Ledger(tmp_path)
    ledger.fill(4)
    ledger.checkpointer.take(START)
    ledger.by_hand(statement)
    with pytest.raises(StoreError):
        exporter(ledger).export(tmp_path / "bundle", [run_id(1)], now=START)


# what is changed in it


def lines_of(bundle: Path, name: str = "events.jsonl") -> list[bytes]:
    return (bundle / name).read_bytes().splitlines(keepends=True)


def test_every_byte_flip_in_a_bundle_is_found(bundle: Path, tool: Any) -> None:
    """Each byte of two events, and of what is signed; the tool says `event N of RUN` wherever it is one."""
    whole = {name: (bundle / name).read_bytes() for name in ("events.jsonl", "checkpoint.json", "bundle.json")}
    lines = lines_of(bundle)
    start = len(b"".join(lines[:3]))
    chosen = {
        "events.jsonl": [*range(start, start + len(lines[3]) + len(lines[4]))],
        "checkpoint.json": [*range(len(whole["checkpoint.json"]))],
        "bundle.json": [*range(0, len(whole["bundle.json"]), 3)],
    }
    for name, places in chosen.items():
        for at in places:
            data = whole[name]
            (bundle / name).write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
            with pytest.raises((tool.Bad, ValueError, KeyError, TypeError)) as caught:
                tool.Verification(bundle, None, None).run()
            if name == "events.jsonl" and at < start + len(lines[3]) - 1 and isinstance(caught.value, tool.Bad):
                assert "line 4" in str(caught.value) or "cannot be read" in str(caught.value)
        (bundle / name).write_bytes(whole[name])
    tool.Verification(bundle, None, None).run()


def edit(lines: list[bytes], what: str) -> list[bytes]:
    """Events 1 to 10 of run 2 are lines 1 to 10."""
    match what:
        case "deleted":
            return [*lines[:3], *lines[4:]]
        case "swapped":
            return [*lines[:3], lines[4], lines[3], *lines[5:]]
        case "doubled":
            return [*lines[:4], *lines[3:]]
        case "edited":
            return [*lines[:3], lines[3].replace(b"Looks right", b"Looks wrong"), *lines[4:]]
        case "cut":
            return [*lines[:9], *lines[10:]]
        case "run taken out":
            return lines[10:]
        case "dropped":
            kept = json.loads(lines[3])
            short = {key: kept[key] for key in ("hash", "prevHash", "runId", "seq")}
            return [
                *lines[:3],
                json.dumps({"dropped": True, **short}, separators=(",", ":")).encode() + b"\n",
                *lines[4:],
            ]
    raise AssertionError(what)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("deleted", f"event 5 of {run_id(2)} (line 4 of events.jsonl) is bad: event 4 of its run is due"),
        ("swapped", f"event 5 of {run_id(2)} (line 4 of events.jsonl) is bad: event 4 of its run is due"),
        ("doubled", f"event 4 of {run_id(2)} (line 5 of events.jsonl) is bad: event 5 of its run is due"),
        ("edited", f"event 4 of {run_id(2)} (line 4 of events.jsonl) is bad: its content is not what its hash says"),
        ("cut", f"event 10 of {run_id(2)} is missing"),
        ("run taken out", "a run that has a proof is missing"),
        ("dropped", "its content is gone, and no tombstone covers it"),
    ],
)
def test_a_changed_event_file_is_named(bundle: Path, what: str, says: str) -> None:
    (bundle / "events.jsonl").write_bytes(b"".join(edit(lines_of(bundle), what)))
    code, text = verify(bundle)
    assert code == 1
    assert says in text


def rechain(lines: list[bytes]) -> list[bytes]:
    """Every hash anew, as somebody who understands the format would."""
    before, done = "0" * 64, []
    for line in lines:
        event = json.loads(line)
        event.pop("hash")
        event.pop("prevHash")
        payload = json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        digest = sha256(bytes.fromhex(before) + payload.encode())
        event |= {"hash": digest, "prevHash": before}
        done.append(json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
        before = digest
    return done


def test_a_chain_written_anew_does_not_fit_the_signed_log(bundle: Path) -> None:
    lines = lines_of(bundle)
    lines[3] = lines[3].replace(b"Looks right", b"Looks wrong")
    (bundle / "events.jsonl").write_bytes(b"".join([*rechain(lines[:10]), *lines[10:]]))
    code, text = verify(bundle)
    assert code == 1
    assert f"event 10 of {run_id(2)} is not the one in the signed log" in text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda folder: (folder / "index.html").write_text("all is well"), "index.html was changed"),
        (lambda folder: (folder / "README.txt").unlink(), "README.txt"),
        (lambda folder: (folder / "extra.txt").write_text(""), "extra.txt: there and not listed"),
        (lambda folder: next((folder / "envelopes").iterdir()).write_text("{}"), "is bad: envelopes/"),
        (lambda folder: shutil.rmtree(folder / "procedures"), "is missing"),
        (lambda folder: (folder / "checkpoint.json").unlink(), "checkpoint.json cannot be read"),
        (lambda folder: (folder / "proofs.json").write_text('{"runs":[],"consistency":[]}'), "has no proof"),
        (lambda folder: (folder / "proofs.json").write_text("[" * 100_000), "BAD"),
        (lambda folder: (folder / "events.jsonl").write_text("null\n"), "line 1 of events.jsonl is bad"),
        (lambda folder: (folder / "events.jsonl").write_text(""), "events.jsonl is cut off"),
    ],
)
def test_any_other_change_is_found(bundle: Path, change: Callable[[Path], object], says: str) -> None:
    change(bundle)
    code, text = verify(bundle)
    assert code == 1
    assert text.startswith("BAD: ")
    assert says in text


def test_a_bundle_of_a_history_written_anew_with_the_key_fails_at_the_copy_outside(tmp_path: Path) -> None:
    (tmp_path / "true").mkdir()
    true = Ledger(tmp_path / "true")
    true.fill(4, checkpoint_every=3)
    (tmp_path / "false").mkdir()
    shutil.copytree(true.folder / "keys", tmp_path / "false" / "keys")
    false = Ledger(tmp_path / "false")
    false.fill(4, comment="I never said that")
    exported = exporter(false).export(tmp_path / "bundle", [run_id(1)], now=START, sizes=range(1, 41))
    assert verify(exported.folder)[0] == 0
    code, text = verify(exported.folder, "--checkpoint", true.copy)
    assert code == 1
    assert "is not what it was when" in text


def test_another_key_is_refused(made: tuple[Ledger, Exported], bundle: Path, tmp_path: Path) -> None:
    code, text = verify(bundle, "--key", "00" * 32)
    assert code == 1
    assert "another key" in text
    stranger = Ledger(tmp_path)
    stranger.fill(4, checkpoint_every=2)
    assert "another key" in verify(bundle, "--checkpoint", stranger.copy)[1]


# the page


def page_of(tmp_path: Path, **options: Any) -> str:
    ledger = Ledger(tmp_path)
    ledger.fill(4, **options)
    return (exporter(ledger).export(tmp_path / "bundle", [run_id(1)], now=START).folder / "index.html").read_text()


def test_the_page_tells_who_decided_what_when_and_why_over_which_bytes(tmp_path: Path) -> None:
    text = page_of(tmp_path, script="rm -r /old\n", comment="Ticket 4711")
    for part in (
        "Approved: step 1: Bake",
        "Ticket 4711",
        "rm -r /old",
        "sopwith (system, via engine)",
        "ann (human, via cli)",
    ):
        assert part in text
    assert "2026-01-01T12:00:04.000Z" in text
    assert sha256(envelope(run_id(1), "rm -r /old\n")) in text


def test_nothing_in_a_record_can_act_or_hide_on_the_page(tmp_path: Path) -> None:
    text = page_of(tmp_path, script=f"echo {TRAP}\n", comment=TRAP, end=ev.RunCancelled(reason=TRAP))
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "\u202e" not in text
    assert "\\u{202e}evil\\u{001b}" in text
    assert "default-src &#x27;none" in text or "default-src 'none'" in text


def test_a_text_with_line_breaks_cannot_pose_as_another_detail(tmp_path: Path) -> None:
    text = page_of(tmp_path, comment="fine\ndigest: 0000")
    assert "<b>comment</b> fine\ndigest: 0000</div>" in text


def test_the_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    text = page_of(tmp_path)
    assert not any(word in text for word in ("http://", "https://", " src=", "<link", "@import", "url("))


def test_what_the_tool_calls_fine_is_what_the_store_calls_fine(made: tuple[Ledger, Exported]) -> None:
    assert made[0].verify(trusted=True).fine
    assert verify(made[1].folder)[0] == 0


def test_a_signature_has_one_way_of_being_written(made: tuple[Ledger, Exported], tool: Any) -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    signature = made[1].checkpoint.signature
    other = signature[:-3] + alphabet[alphabet.index(signature[-3]) + 1] + "=="
    with pytest.raises(tool.Bad, match="written oddly"):
        tool.statement(line_of(made[1].checkpoint).decode().replace(signature, other), "checkpoint", "it")


def test_a_checkpoint_line_reads_the_same_for_both(made: tuple[Ledger, Exported], tool: Any) -> None:
    line = line_of(made[1].checkpoint)
    assert tool.statement(line.decode(), "checkpoint", "it")["size"] == read(Checkpoint, line).size == 85
    assert isinstance(made[0].checkpointer, Checkpointer)
