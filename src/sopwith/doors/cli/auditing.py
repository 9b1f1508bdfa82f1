"""Verbs about the record: show it, verify it, export it for an auditor, drop what is too old."""

from __future__ import annotations

import shlex
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from sopwith.core.address import address_in
from sopwith.doors.cli import terminal, text
from sopwith.doors.cli.door import Document, Door, complete_run, verb
from sopwith.doors.cli.terminal import crop, safe
from sopwith.errors import BadRequest, NotFound

if TYPE_CHECKING:
    from sopwith.audit.keeper import Verified
    from sopwith.doors.remote.door import RemoteDoor


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from sopwith.doors.cli.app import SECOND_WORDS

    return [*(word for word in SECOND_WORDS if word.startswith(incomplete)), *complete_run(ctx, param, incomplete)]


_checkpoints = click.option(
    "--checkpoint",
    "brought",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Checkpoints that were kept elsewhere, to compare with. May be given many times.",
)


@click.command()
@click.argument("run_id", metavar="[RUN]", required=False, shell_complete=_complete)
@click.option(
    "--verify", is_flag=True, help="Is RUN's record what it was? Exit code 1 if not; names the first bad event."
)
@click.option("--verify-all", is_flag=True, help="The same for the whole log, of all runs.")
@_checkpoints
@verb
def audit(door: Door, run_id: str | None, verify: bool, verify_all: bool, brought: tuple[Path, ...]) -> None:
    """Show the record of RUN, every event with its actor and hash; or verify it. See also audit export, audit prune."""
    if verify_all == (run_id is not None) or (verify and run_id is None):
        raise BadRequest(
            f"expected {'a run, or' if not verify_all else 'no run beside'} --verify-all",
            hint="sop audit RUN, sop audit RUN --verify, or sop audit --verify-all",
        )
    if brought and not (verify or verify_all):
        raise BadRequest("--checkpoint is for --verify and --verify-all", hint="add one of them")
    if run_id is not None:
        door.check_run(run_id)
    if verify or verify_all:
        _verify(door, run_id, brought)
        return
    assert run_id is not None
    document = door.reader.audit(run_id)
    door.say(document, lambda: _record_text(document))


@click.command()
@click.argument("run_ids", metavar="[RUN]...", nargs=-1, shell_complete=complete_run)
@click.option(
    "--since", metavar="DATE", help="The runs that began on this day or later: 2026-01-31, by the clock here."
)
@click.option("--all", "everything", is_flag=True, help="All runs.")
@click.option(
    "--to", "folder", required=True, metavar="FOLDER", type=click.Path(path_type=Path), help="A new or empty folder."
)
@_checkpoints
@verb
def audit_export(
    door: Door, run_ids: tuple[str, ...], since: str | None, everything: bool, folder: Path, brought: tuple[Path, ...]
) -> None:
    """Write the records of RUN, or of several, as a bundle that tools/verify_audit.py verifies without Sopwith."""
    if [bool(run_ids), since is not None, everything].count(True) != 1:
        raise BadRequest("expected runs, --since or --all, and only one of these", hint="sop history shows all runs")
    for run_id in run_ids:
        door.check_run(run_id)
    begin = None if since is None else _day(since)
    document = _exported(door, run_ids, begin, folder, brought)
    door.say(document, lambda: _exported_text(document))


def _exported(
    door: Door, run_ids: tuple[str, ...], begin: datetime | None, folder: Path, brought: tuple[Path, ...]
) -> Document:
    if door.server is not None:
        document = door.server.keeping.export(folder, run_ids=run_ids, since=begin, brought=brought)
        _warn(door, document)
        return document
    _must_have_a_record(door)
    from sopwith.assembly import open_keeper

    with open_keeper(door.workspace) as keeper:
        chosen = run_ids or keeper.runs_since(begin)
        exported = keeper.export(folder, chosen, now=door.engine.parts.clock.now().at, brought=brought)
    for failure in exported.failures:
        door.warn(failure)
    return {"folder": str(exported.folder), **exported.document()}


@click.command()
@click.option("--dry-run", is_flag=True, help="Only tell what would go.")
@verb
def audit_prune(door: Door, dry_run: bool) -> None:
    """Drop the content of runs that ended more than auditRetentionDays ago. Their hashes stay: the log still verifies.

    What goes: events, envelopes, logs and evidence of those runs. A signed tombstone says so, by whom and when.
    Entries of the server's own log that are older than accessLogRetentionDays go too; a signed entry says so.
    """
    document = _pruned(door, dry_run=dry_run)
    door.say(document, lambda: _pruned_text(document))


def _pruned(door: Door, *, dry_run: bool) -> Document:
    if door.server is not None:
        document = door.server.keeping.prune(dry_run=dry_run)
        _warn(door, document)
        return document
    from sopwith.audit.access_retention import DroppedEntries
    from sopwith.audit.retention import Dropped

    config = door.library.config()
    dropped = Dropped(entries=DroppedEntries(config.access_log_retention_days))
    if door.has_runs:
        from sopwith.assembly import open_keeper

        with open_keeper(door.workspace) as keeper:
            dropped = keeper.retain(door.engine.parts.clock.now().at, by=door.actor, dry_run=dry_run)
        for failure in dropped.failures:
            door.warn(failure)
    return dropped.document(config.audit_retention_days, dry_run=dry_run)


def _warn(door: Door, document: Document) -> None:
    """What a server could not do beside what it did."""
    for warning in document.pop("warnings", ()):
        door.warn(str(warning))


def _verify(door: Door, run_id: str | None, brought: tuple[Path, ...]) -> None:
    if door.server is not None:
        _verify_from_afar(door.server, run_id, brought)
    _must_have_a_record(door)
    from sopwith.assembly import open_keeper

    with open_keeper(door.workspace) as keeper:
        verified = keeper.verify(run_id, brought=brought)
    door.say({"runId": run_id, **verified.document()}, lambda: _verified_text(run_id, verified))
    door.leave(0 if verified.report.fine else 1)


def _verify_from_afar(door: RemoteDoor, run_id: str | None, brought: tuple[Path, ...]) -> NoReturn:
    """What the server says of its own record. Whoever does not believe it takes an export and verifies that."""
    document = door.keeping.verify(run_id, brought)
    door.say(document, lambda: _told_by_server(document))
    door.leave(0 if document["fine"] else 1)


def _must_have_a_record(door: Door) -> None:
    """Raises NotFound where there is no database, and makes none."""
    if not door.has_runs:
        raise NotFound(
            "there is no record here: nothing was run in this workspace yet, or its database is gone",
            hint=f"it would be {door.workspace.database}",
        )


def _day(words: str) -> datetime:
    try:
        found = datetime.fromisoformat(words)
    except ValueError:
        raise BadRequest(f"expected a date, got {words!r} in --since", hint="write it as 2026-01-31") from None
    return found.astimezone()


def _verified_text(run_id: str | None, verified: Verified) -> str:
    report = verified.report
    lines = [_verdict(run_id, verified)]
    if not report.fine:
        lines += [
            f"  before that, {safe(copy.name)} agrees up to event {copy.size} of the log"
            for copy in verified.copies
            if copy.size
        ]
        return "\n".join([*lines, text.dim("  keep this workspace and all copies as they are: they are evidence")])
    signed = max([report.signed_size, *report.reached.values()])
    if not signed:
        lines.append("  no checkpoint covers any of it: the events are held together by their chain alone")
    else:
        after = f"; {_count(report.unsigned, 'event')} after it, held together by the chain alone"
        lines.append(f"  newest checkpoint: up to event {signed} of the log{after if report.unsigned else ''}")
    lines += _beside(verified.document())
    if report.dropped:
        lines.append(
            f"  {_count(report.dropped, 'event')} without content: retention dropped it, signed tombstones say"
        )
    if run_id is None:
        lines.append(
            "  lists show what is derived from the events, which is not compared here: sop doctor does, and mends it"
        )
    if report.fine and not report.trusted_size:
        lines.append(
            text.dim(
                "  without a checkpoint from outside, whoever has this folder and its key could have made it all anew"
            )
        )
    return "\n".join(lines)


def _beside(document: Document) -> list[str]:
    """What a reader of the verdict has to know: compared with what, and whether the record was ever put back."""
    lines = []
    for copy in document["copies"]:
        where = "outside" if copy["outside"] else "inside the workspace"
        told = copy["problem"] or f"agrees up to event {copy['agreesUpTo']}"
        word = "not compared:" if copy["problem"] and copy["agreesUpTo"] == 0 else "compared with"
        lines.append(f"  {word} {safe(copy['path'])} ({where}): {safe(told)}")
    lines += [f"  {safe(problem)}" for problem in document["problems"]]
    for each in document["restorations"]:
        lost = each["known"] - each["size"]
        told = f": {_count(lost, 'event')} after it were lost" if lost > 0 else ""
        whence = f"by {safe(each['by'])} from the backup of {safe(each['backupAt'])}"
        lines.append(f"  restored {safe(each['timestamp'])} {whence}{told}")
    return lines


def _verdict(run_id: str | None, verified: Verified) -> str:
    report = verified.report
    if report.first_bad is not None:
        return f"{click.style(terminal.mark('✘'), fg='red')} {safe(str(report.first_bad))}"
    what = f"the log: {_count(report.events, 'event')} of {_count(report.runs, 'run')}"
    if run_id is not None:
        what = f"{run_id}: {_count(report.events, 'event')}"
    return f"{click.style(terminal.mark('✔'), fg='green')} {what}, as recorded"


def _told_by_server(document: Document) -> str:
    if document["firstBad"] is not None:
        return f"{click.style(terminal.mark('✘'), fg='red')} {safe(document['firstBad']['what'])}"
    what = document["runId"] or "the log"
    told = f"{what}: {_count(document['events'], 'event')}, as recorded, says the server"
    return "\n".join([f"{click.style(terminal.mark('✔'), fg='green')} {told}", *_beside(document)])


def _exported_text(document: Document) -> str:
    to = safe(document["folder"])
    return (
        f"{click.style(terminal.mark('✔'), fg='green')} {_count(document['runs'], 'run')}, "
        f"{_count(document['events'], 'event')} in {to}: index.html is for reading\n"
        f"  key {safe(document['publicKey'])}\n"
        f"  to verify it: python3 verify_audit.py {to} --checkpoint COPY --key HEX\n"
        + text.dim(
            "  verify_audit.py is in tools/ of Sopwith's sources: whoever verifies takes it from there, not from you"
        )
    )


def _pruned_text(document: Document) -> str:
    return "\n".join(filter(None, (_runs_pruned_text(document), _entries_pruned_text(document))))


def _entries_pruned_text(document: Document) -> str:
    """Of the server's own log, where something is said about it."""
    count = document.get("accessEntries")
    if not count:
        return ""
    word = "would be dropped" if document["dryRun"] else "dropped; a signed statement there says so"
    return f"{count} {'entry' if count == 1 else 'entries'} of the server's own log {word}"


def _runs_pruned_text(document: Document) -> str:
    days = document["auditRetentionDays"]
    if days is None:
        return "auditRetentionDays is not set in config.json: every record is kept for ever"
    if not document["runs"]:
        return f"no record to drop: nothing ended more than {_count(days, 'day')} ago"
    lines = [f"{safe(run['runId'])}  ended {text.local_time(run['endedAt'])}" for run in document["runs"]]
    word = "would be dropped" if document["dryRun"] else "dropped; the hashes stay, and a signed tombstone says why"
    return "\n".join([*lines, f"{_count(len(lines), 'record')} {word}"])


_FACTS = (
    (("expression", "result"), "{1}, by {0}"),
    (("votes", "needed"), "{} of {}"),
    (("action", "dueAt"), "{}, due at {}"),
    (("to", "dueAt"), "to {}, due at {}"),
    (("jumpedMs", "dueAt"), "by {} ms, to {}"),
    (("changed",), "changed: {}"),
    (("instances",), "for {}"),
    (("childRunId", "status"), "{} is {}"),
    (("title", "childRunId", "executor"), "{}, as {}"),
    (("title", "agent", "command"), "{}, by the agent {}: {}"),
    (("cause", "reason"), "{}: {}"),
)
"""What says most about events that have neither reason nor comment: keys of the details, and the words around them."""


def _record_text(document: Document) -> str:
    lines = []
    if "dropped" in document:
        dropped = document["dropped"]
        lines.append(
            f"{document['runId']}: its record was dropped on {dropped['at'][:10]}, after {dropped['days']} days, "
            "by auditRetentionDays; its hashes are kept"
        )
    for event in document["events"]:
        if event.get("contentGone"):
            lines.append(crop(f"{event['seq']:>4} content gone, hash {event['hash']}", terminal.columns()))
            continue
        step = address_in(event)
        where = "" if step is None else f" step {step}"
        where += " (rollback)" if event["details"].get("rollback") else ""
        told = _told(event["details"])
        line = f"{event['seq']:>4} {event['timestamp']} {event['type']}{where} by {event['actor']['id']}{told}"
        lines.append(crop(safe(line), terminal.columns()))
    return "\n".join(lines)


def _told(details: Document) -> str:
    shown = {
        key: shlex.join(value) if key == "command" and isinstance(value, list) else value
        for key, value in details.items()
    }
    facts = [words.format(*(shown[key] for key in keys)) for keys, words in _FACTS if all(k in shown for k in keys)]
    if facts:
        return f": {'; '.join(facts)}".replace("\n", " ")
    for key in ("reason", "comment", "error", "duration", "title"):
        if details.get(key):
            return f": {details[key]}".replace("\n", " ")
    return ""


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
