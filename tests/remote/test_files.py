"""Files over the network: evidence to the server, bundles and backups from it, none of them whole in memory."""

from __future__ import annotations

import hashlib
import io
import json
import os
import socket
import tarfile
from pathlib import Path

import pytest
from tests.doors.workshop import Workshop, eventually
from tests.web.given import Served

from sopwith.doors.cli.auditing import _told_by_server
from sopwith.doors.remote.client import Client, ServerUnreachable
from sopwith.doors.remote.keeping import RemoteKeeping
from sopwith.engine import evidence
from sopwith.engine.evidence import MOST_SENT, MOST_SENT_BYTES

from .conftest import Away


@pytest.fixture
def manual(workshop: Workshop, away: Away) -> str:
    """A run that waits for a report."""
    workshop.steps("manual", "Look", "Look again")
    return str(away.json("run", "manual", code=3)["runId"])


def sent_folder(workshop: Workshop, run_id: str) -> Path:
    return workshop.sops / "runs" / run_id / ".sent"


def send(served: Served, run_id: str, data: bytes, **more: str) -> tuple[int, str]:
    reply = served.call("POST", f"/api/v1/runs/{run_id}/evidence", os.environ["SOPWITH_TOKEN"], body=data, headers=more)
    return reply.status, str(reply.json.get("sha256") or reply.json["code"])


def report(served: Served, run_id: str, *files: dict[str, str], step: int = 1) -> tuple[int, str]:
    token = os.environ["SOPWITH_TOKEN"]
    body = {"stepNumber": step, "evidence": list(files)}
    reply = served.call("POST", f"/api/v1/runs/{run_id}/complete", token, body=body)
    return reply.status, str(reply.json.get("code", ""))


def test_evidence_is_kept_as_it_was_and_nothing_lies_about_afterwards(
    workshop: Workshop, away: Away, manual: str
) -> None:
    photo = os.urandom(700_000)
    (away.root / "photo.png").write_bytes(photo)
    (away.root / "empty.txt").write_bytes(b"")
    told = away.json("complete", manual, "--evidence", "photo.png", "--evidence", "empty.txt", code=3)
    kept = told["stepResults"][0]["evidence"]
    assert [(each["name"], each["sizeBytes"]) for each in kept] == [("photo.png", 700_000), ("empty.txt", 0)]
    folder = workshop.sops / "runs" / manual
    assert (folder / "evidence" / kept[0]["sha256"]).read_bytes() == photo
    assert list((folder / ".sent").iterdir()) == []


def test_a_file_that_cannot_be_sent_reports_nothing(away: Away, manual: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (away.root / "good.txt").write_text("x")
    monkeypatch.setattr(evidence, "MOST_SENT_BYTES", 3)
    (away.root / "large.txt").write_text("xxxx")
    for name in ("large.txt", "missing.txt", "."):
        told = away.sop("complete", manual, "--evidence", "good.txt", "--evidence", name)
        assert (told.code, name in told.err) == (2, True)
    assert away.json("status", manual)["stepResults"][0]["status"] == "running"


def test_whoever_sends_a_large_file_that_is_refused_is_told_why(served: Served, away: Away, manual: str) -> None:
    """To close on what still comes would be no answer at all."""
    (away.root / "large.bin").write_bytes(bytes(20_000_000))
    told = away.sop("complete", "sop_run_unknown", "--evidence", "large.bin")
    assert (told.code, "no run is called" in told.err) == (6, True)
    told = away.use(served.token("bob", "author")).sop("complete", manual, "--evidence", "large.bin")
    assert (told.code, "may not" in told.err) == (5, True)


def test_a_file_is_bounded_by_what_comes_whatever_was_declared(
    workshop: Workshop, served: Served, away: Away, manual: str
) -> None:
    """Refused by its declared size at once; without one as soon as more has come than may."""
    head = (
        f"POST /api/v1/runs/{manual}/evidence HTTP/1.1\r\nHost: {served.host}\r\n"
        f"Authorization: Bearer {os.environ['SOPWITH_TOKEN']}\r\n"
    )
    declared = served.raw(f"{head}Content-Length: {MOST_SENT_BYTES + 1}\r\n\r\n".encode())
    assert declared.startswith(b"HTTP/1.1 413")
    with served.connected() as sock:
        sock.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        piece = b"100000\r\n" + bytes(0x100000) + b"\r\n"
        try:
            for _ in range(MOST_SENT_BYTES // 0x100000 + 1):
                sock.sendall(piece)
            answer = sock.recv(100)
        except (ConnectionResetError, BrokenPipeError):
            answer = b"HTTP/1.1 413"
        assert answer.startswith(b"HTTP/1.1 413")
    eventually(lambda: list(sent_folder(workshop, manual).iterdir()) == [])


def test_a_sender_that_leaves_leaves_nothing(workshop: Workshop, served: Served, away: Away, manual: str) -> None:
    with served.connected() as sock:
        sock.sendall(
            f"POST /api/v1/runs/{manual}/evidence HTTP/1.1\r\nHost: {served.host}\r\n"
            f"Authorization: Bearer {os.environ['SOPWITH_TOKEN']}\r\nContent-Length: 900000\r\n\r\n".encode()
        )
        sock.sendall(bytes(400_000))
        eventually(lambda: len(list(sent_folder(workshop, manual).glob("*"))) == 1)
        sock.shutdown(socket.SHUT_RDWR)
    eventually(lambda: list(sent_folder(workshop, manual).iterdir()) == [])
    assert "trouble" not in served.text


def test_only_so_many_files_wait_for_a_report(served: Served, away: Away, manual: str) -> None:
    for number in range(MOST_SENT):
        assert send(served, manual, b"%d" % number)[0] == 201
    assert send(served, manual, b"more") == (409, "refused")


@pytest.mark.parametrize(
    "file",
    [
        {"name": "a", "sha256": "0" * 64},
        {"name": "a", "sha256": "../../../../config.json"},
        {"name": "a", "sha256": "A" * 64},
        {"name": "", "sha256": "0" * 64},
        {"name": "a\nb", "sha256": "0" * 64},
        {"name": "a"},
        {"name": "a", "sha256": "0" * 64, "path": "/etc/passwd"},
    ],
    ids=str,
)
def test_what_was_not_sent_is_no_evidence(served: Served, away: Away, manual: str, file: dict[str, str]) -> None:
    assert report(served, manual, file)[0] == 400
    assert away.json("status", manual)["stepResults"][0]["status"] == "running"


def test_a_file_whose_name_cannot_be_shown_is_to_have_another(away: Away, manual: str) -> None:
    (away.root / "a\nb").write_text("x")
    told = away.sop("complete", manual, "--evidence", "a\nb")
    assert (told.code, "characters that can be shown" in told.err, "sha256" in told.err) == (2, True, False)


def test_a_file_that_was_changed_meanwhile_is_no_evidence(
    workshop: Workshop, served: Served, away: Away, manual: str
) -> None:
    _status, digest = send(served, manual, b"as it was")
    (sent_folder(workshop, manual) / digest).write_bytes(b"as it is")
    assert report(served, manual, {"name": "a", "sha256": digest}) == (500, "workspace_error")
    assert away.json("status", manual)["stepResults"][0]["status"] == "running"


def test_more_files_than_a_report_takes_are_not_sent(workshop: Workshop, away: Away, manual: str) -> None:
    names = [f"{number}.txt" for number in range(MOST_SENT + 1)]
    for name in names:
        (away.root / name).write_text(name)
    told = away.sop("complete", manual, *(f"--evidence={name}" for name in names))
    assert (told.code, f"{MOST_SENT} can be sent" in told.err) == (2, True)
    assert not sent_folder(workshop, manual).exists()


def test_a_file_that_waits_already_can_be_sent_again(served: Served, away: Away, manual: str) -> None:
    """Else whoever has sent as many as may wait, for a report that was refused, could send none for a day."""
    for number in range(MOST_SENT):
        assert send(served, manual, str(number).encode())[0] == 201
    assert send(served, manual, b"more") == (409, "refused")
    assert send(served, manual, b"0")[0] == 201


def test_who_may_not_report_sends_nothing(workshop: Workshop, served: Served, away: Away, manual: str) -> None:
    away.here()
    viewer = served.token("vic", "viewer")
    elsewhere = served.token("eve", "admin", "--procedures", "oth*")
    path = f"/api/v1/runs/{manual}/evidence"
    assert served.call("POST", path, viewer, body=b"x").status == 403
    assert served.call("POST", path, elsewhere, body=b"x").status == 404
    assert not sent_folder(workshop, manual).exists()


def test_a_run_that_is_over_takes_no_file(served: Served, away: Away, manual: str) -> None:
    away.json("cancel", manual)
    assert send(served, manual, b"x") == (409, "illegal_move")


def test_what_no_report_names_goes_after_a_day(workshop: Workshop, served: Served, away: Away, manual: str) -> None:
    _status, digest = send(served, manual, b"x")
    path = sent_folder(workshop, manual) / digest
    os.utime(path, (path.stat().st_mtime - 90_000,) * 2)
    away.here()
    assert digest[:12] in workshop.sop("doctor", "--dry-run").out
    away.use(os.environ["SOPWITH_TOKEN"])
    assert send(served, manual, b"y")[0] == 201
    assert not path.exists()


def test_a_bundle_from_afar_is_the_bundle_that_is_made_here(workshop: Workshop, away: Away) -> None:
    workshop.steps("quick", "A | echo out")
    workshop.steps("other", "A | echo out")
    for name in ("quick", "other"):
        away.json("run", name)
    run_id = away.run_id("quick")
    told = away.json("audit", "export", run_id, "--to", "bundle")
    away.here()
    made = workshop.json("audit", "export", run_id, "--to", "here")
    away.use(os.environ["SOPWITH_TOKEN"])
    assert {key: told[key] for key in ("runs", "events", "publicKey")} == {
        key: made[key] for key in ("runs", "events", "publicKey")
    }
    ours, theirs = away.root / "bundle", workshop.root / "here"
    assert {p.relative_to(ours) for p in ours.rglob("*")} == {p.relative_to(theirs) for p in theirs.rglob("*")}
    assert (ours / "events.jsonl").read_bytes() == (theirs / "events.jsonl").read_bytes()
    assert (ours.stat().st_mode & 0o777, (ours / "events.jsonl").stat().st_mode & 0o777) == (0o700, 0o600)
    assert away.sop("audit", "export", run_id, "--to", "bundle").code == 2
    assert not [path for path in (workshop.sops / "runs").iterdir() if path.name.startswith(".export")]


def test_a_bundle_of_all_holds_what_the_token_is_for(workshop: Workshop, served: Served, away: Away) -> None:
    workshop.steps("quick", "A | echo out")
    workshop.steps("other", "A | echo out")
    runs = {name: away.json("run", name)["runId"] for name in ("quick", "other")}
    away.here()
    away.use(served.token("eve", "viewer", "--procedures", "oth*"))
    away.json("audit", "export", "--all", "--to", "all")
    events = [json.loads(line) for line in (away.root / "all" / "events.jsonl").read_text().splitlines()]
    assert {event["runId"] for event in events} == {runs["other"]}
    told = away.sop("audit", "export", runs["quick"], "--to", "one")
    assert told.code == 6
    assert away.sop("audit", "--verify-all").code == 5
    assert away.sop("audit", runs["other"], "--verify").code == 0


def test_a_checkpoint_that_was_kept_elsewhere_is_compared(workshop: Workshop, away: Away) -> None:
    workshop.steps("quick", "A | echo out")
    run_id = away.json("run", "quick")["runId"]
    kept = (workshop.sops / "runs" / "checkpoints.jsonl").read_text()
    (away.root / "kept.jsonl").write_text(kept)
    told = away.json("audit", "--verify-all", "--checkpoint", "kept.jsonl")
    assert told["fine"] is True
    assert [copy["outside"] for copy in told["copies"] if copy["path"] == "checkpoints 1"] == [True]
    forged = json.loads(kept.splitlines()[0])
    (away.root / "kept.jsonl").write_text(json.dumps({**forged, "root": "0" * 64}) + "\n")
    assert away.json("audit", run_id, "--verify", "--checkpoint", "kept.jsonl", code=1)["fine"] is False


def test_what_could_not_be_compared_and_what_a_restore_has_lost_is_told_from_afar_too(
    workshop: Workshop, away: Away
) -> None:
    workshop.steps("quick", "A | echo out")
    run_id = away.json("run", "quick")["runId"]
    (workshop.sops / "config.json").write_text(json.dumps({"checkpointCopies": ["nowhere/copy.jsonl"]}))
    for told in (away.sop("audit", "--verify-all"), away.sop("audit", run_id, "--verify")):
        assert (told.code, "as recorded" in told.out) == (0, True)
        assert "not compared:" in told.out
        assert "nowhere/copy.jsonl" in told.out
    document = away.json("audit", "--verify-all")
    lost = {"timestamp": "2026-01-31T00:00:00.000Z", "by": "ann", "backupAt": "2026-01-30", "known": 9, "size": 7}
    assert "2 events after it were lost" in _told_by_server({**document, "restorations": [lost]})


def test_a_backup_from_afar_can_be_restored(workshop: Workshop, away: Away, tmp_path: Path) -> None:
    workshop.steps("quick", "A | echo out")
    run_id = away.json("run", "quick")["runId"]
    told = away.json("backup", "saved.tar")
    saved = away.root / "saved.tar"
    assert (told["sizeBytes"], told["runs"]) == (saved.stat().st_size, 1)
    assert saved.stat().st_mode & 0o777 == 0o600
    with tarfile.open(saved) as tar:
        assert not [name for name in tar.getnames() if name.endswith(".key")]
    assert away.sop("backup", "saved.tar").code == 5
    away.here()
    other = Workshop(tmp_path / "other")
    assert other.sop("restore", str(saved)).code == 0
    assert other.json("status", run_id)["status"] == "completed"


@pytest.mark.parametrize("role", ["viewer", "runner", "approver", "author"])
def test_a_backup_takes_an_administrator(served: Served, away: Away, role: str) -> None:
    away.here()
    away.use(served.token("vic", role))
    assert away.sop("backup", "saved.tar").code == 5
    assert list(away.root.iterdir()) == []


def test_records_are_dropped_from_afar_by_people_only(workshop: Workshop, served: Served, away: Away) -> None:
    workshop.steps("quick", "A | echo out")
    (workshop.sops / "config.json").write_text('{"auditRetentionDays": 30, "accessLogRetentionDays": 9}')
    away.json("run", "quick")
    told = away.json("audit", "prune")
    assert (told["total"], told["accessLogRetentionDays"], told["accessEntries"]) == (0, 9, 0)
    away.here()
    away.use(served.token("bot", "admin", "--kind", "service"))
    assert away.sop("audit", "prune").code == 5


def test_a_procedure_is_made_and_tried_out_from_afar(workshop: Workshop, served: Served, away: Away) -> None:
    away.here()
    away.use(served.token("ann", "author", "--procedures", "rel*"))
    told = away.json("create", "release")
    assert told["created"][0] == ".pi/sops/release/SOP.md"
    assert (workshop.sops / "release" / "SOP.md").exists()
    assert away.json("test")["passed"] is True
    (away.root / "bad.toml").write_text(
        'acts = [{do = "reject", by = "a", step = "start", reason = "no"}]\n[expect]\nstatus = "completed"\n'
    )
    told = away.json("test", "release", "--scenario", "bad.toml", code=1)
    assert told["scenarios"][0]["differences"][0]["what"] == "status"
    assert "FAILED" in away.sop("test", "release", "--scenario", "bad.toml").out
    assert away.sop("create", "release").code == 5
    assert away.sop("create", "deploy").code == 5
    assert not (workshop.sops / "deploy").exists()


class Told:
    """A server's answer, as a client takes it."""

    def __init__(self, data: bytes, headers: dict[str, str]) -> None:
        self._data, self._headers = data, headers

    def fetch(self, _method: str, _path: str, file: io.BytesIO, **_more: object) -> dict[str, str]:
        file.write(self._data)
        return self._headers


def tar_of(**members: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return made.getvalue()


def keeping(data: bytes, *, digest: str = "") -> RemoteKeeping:
    headers = {"sopwith-sha256": digest or hashlib.sha256(data).hexdigest(), "sopwith-made": "e30="}
    client: Client = Told(data, headers)  # type: ignore[assignment]
    return RemoteKeeping(client)


@pytest.mark.parametrize("name", ["..__evil", "__etc__evil", "evil", "procedures__x.json", "bundle.json__x"])
def test_a_bundle_holds_only_what_bundles_hold(tmp_path: Path, name: str) -> None:
    data = tar_of(**{"events.jsonl": b"{}", name: b"x"})
    with pytest.raises(ServerUnreachable, match="does not belong"):
        keeping(data).export(tmp_path / "in" / "to", run_ids=["x"], since=None, brought=[])
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] in ([], ["events.jsonl"])


def test_a_link_in_a_bundle_is_not_followed(tmp_path: Path) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        member = tarfile.TarInfo("events.jsonl")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(ServerUnreachable, match="does not belong"):
        keeping(made.getvalue()).export(tmp_path / "to", run_ids=["x"], since=None, brought=[])


def test_what_was_cut_off_is_not_kept(tmp_path: Path) -> None:
    whole = hashlib.sha256(tar_of(a=b"x")).hexdigest()
    with pytest.raises(ServerUnreachable, match="not all that was sent"):
        keeping(b"half", digest=whole).backup(tmp_path / "saved.tar", force=False)
    with pytest.raises(ServerUnreachable, match="not all that was sent"):
        keeping(b"half", digest=whole).export(tmp_path / "to", run_ids=["x"], since=None, brought=[])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
