"""Signed statements about the log: a checkpoint, a tombstone, the list of files in a bundle. Values only, no files.

A statement is one JSON object in canonical form (RFC 8785); its Ed25519 signature covers the canonical bytes of the
object without `signature`. `format` stands in each, so that none can be taken for one of another kind.
"""

from __future__ import annotations

import binascii
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from sopwith.core.procedure import MAX_INTEGER, canonical, sha256

_ORIGIN_CHARACTERS = 16
_BEFORE_SIGNATURE = '{"format":"sopwith/checkpoint/1","origin":"%s","publicKey":"%s","root":"%s",'
_AFTER_SIGNATURE = '"size":%d,"timestamp":"%s"}'


class Statement(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What all have in common. `origin` names the key: the start of its SHA-256; `timestamp` is when it was signed."""

    origin: str
    timestamp: str
    public_key: str
    """The Ed25519 key, 32 bytes in hex."""
    signature: str
    """64 bytes in base64."""


class Checkpoint(Statement, frozen=True, kw_only=True):
    """The first `size` events of the log have this Merkle root (RFC 9162, over the 32-byte event hashes), hex."""

    format: Literal["sopwith/checkpoint/1"] = "sopwith/checkpoint/1"
    size: int
    root: str


class Buried(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A run whose events up to `last_seq` have lost their payloads; `head` is the hash of that event."""

    run_id: str
    first_seq: int
    last_seq: int
    head: str
    first_position: int
    last_position: int
    ended_at: str


class Tombstone(Statement, frozen=True, kw_only=True):
    """The payloads of these runs, which ended more than `days` days before `timestamp`, were dropped on purpose.

    `by`: who had it done; the server's sweep is `sopwith`.
    """

    format: Literal["sopwith/tombstone/1"] = "sopwith/tombstone/1"
    days: int
    by: str
    runs: tuple[Buried, ...]


class AccessPruned(Statement, frozen=True, kw_only=True):
    """The first `up_to` entries of the server's own log, more than `days` days old, were dropped on purpose, by `by`.

    `head`: the hash of the last of them, hex; what is left begins there.
    """

    format: Literal["sopwith/access-pruned/1"] = "sopwith/access-pruned/1"
    days: int
    by: str
    up_to: int
    head: str


class Manifest(Statement, frozen=True, kw_only=True):
    """The files of an exported bundle by their path, with their SHA-256."""

    format: Literal["sopwith/bundle/1"] = "sopwith/bundle/1"
    files: dict[str, str]


class BackupManifest(Statement, frozen=True, kw_only=True):
    """What a backup holds: the log's first `size` events, and files by their path, with their SHA-256."""

    format: Literal["sopwith/backup/1"] = "sopwith/backup/1"
    size: int
    host: str
    files: dict[str, str]


class Restoration(Statement, frozen=True, kw_only=True):
    """This database was put in the place of another one, from the backup that was made at `backup_at`.

    `known`: so many events were known to be signed or there; those beyond `size` are lost. `database`: the SHA-256 of
    the database in the backup. `by`: who restored it. `stopped`: the runs that had not ended.
    """

    format: Literal["sopwith/restoration/1"] = "sopwith/restoration/1"
    backup_at: str
    database: str
    size: int
    known: int
    by: str
    stopped: tuple[str, ...]


Kind = TypeVar("Kind", bound=Statement)


class Signer(Protocol):
    """Whoever holds the private key."""

    @property
    def public_key(self) -> bytes: ...

    def sign(self, message: bytes) -> bytes: ...


class BadStatement(Exception):
    """A line that is no valid statement; the text says why."""


def origin_of(public_key: bytes) -> str:
    """The key's short name."""
    return sha256(public_key)[:_ORIGIN_CHARACTERS]


def signed(kind: type[Kind], signer: Signer, **fields: Any) -> Kind:
    """The statement with the signer's key and signature."""
    key = signer.public_key
    draft = kind(origin=origin_of(key), public_key=key.hex(), signature="", **fields)
    return msgspec.structs.replace(
        draft, signature=binascii.b2a_base64(signer.sign(_unsigned(draft)), newline=False).decode()
    )


def line_of(statement: Statement) -> bytes:
    """The statement as it is kept: one line, without its newline."""
    return canonical(msgspec.to_builtins(statement))


def read(kind: type[Kind], line: bytes) -> Kind:
    """The statement in this line, its signature checked against the key it names. Raises BadStatement."""
    try:
        statement: Kind = _READERS[kind].decode(line)
        key = bytes.fromhex(statement.public_key)
        signature = binascii.a2b_base64(statement.signature, strict_mode=True)
        unsigned = _cut(statement, line) if isinstance(statement, Checkpoint) else None
        is_canonical = unsigned is not None or line_of(statement) == line
        if not is_canonical or binascii.b2a_base64(signature, newline=False).decode() != statement.signature:
            raise BadStatement("it is not in canonical form")
    except (msgspec.MsgspecError, ValueError, binascii.Error) as error:
        raise BadStatement(f"it cannot be read ({error})") from error
    if statement.origin != origin_of(key):
        raise BadStatement("its origin is not that of its key")
    if not _verifies(key, unsigned or _unsigned(statement), signature):
        raise BadStatement("its signature is wrong")
    return statement


_READERS: dict[type[Statement], msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind)
    for kind in (Checkpoint, Tombstone, AccessPruned, Manifest, BackupManifest, Restoration)
}


def _cut(checkpoint: Checkpoint, line: bytes) -> bytes | None:
    """A checkpoint's line without its signature, where it is plainly canonical: ten times as fast as writing it anew.

    There may be one for each run. What a line says, put between the words of the canonical form as it is, makes the
    very line only where nothing in it is written in another way. Others are compared with what they should be.
    """
    before = (_BEFORE_SIGNATURE % (checkpoint.origin, checkpoint.public_key, checkpoint.root)).encode()
    after = (_AFTER_SIGNATURE % (checkpoint.size, checkpoint.timestamp)).encode()
    whole = b'%s"signature":"%s",%s' % (before, checkpoint.signature.encode(), after)
    return before + after if whole == line and 0 <= checkpoint.size <= MAX_INTEGER else None


def _unsigned(statement: Statement) -> bytes:
    document = msgspec.to_builtins(statement)
    del document["signature"]
    return canonical(document)


def _verifies(key: bytes, message: bytes, signature: bytes) -> bool:
    from nacl.bindings import crypto_sign_open
    from nacl.exceptions import CryptoError

    if len(key) != 32 or len(signature) != 64:
        return False
    try:
        crypto_sign_open(signature + message, key)
    except CryptoError:
        return False
    return True
