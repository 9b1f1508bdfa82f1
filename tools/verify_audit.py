#!/usr/bin/env python3
"""Verifies a bundle that `sop audit export` wrote. Python's standard library only; nothing of Sopwith is imported.

    python3 verify_audit.py FOLDER [--checkpoint COPY] [--key HEX]

Exit code 0 if the bundle is what was recorded, 1 with one sentence about the first bad event, 2 for a wrong call.
The rules: each event's hash is SHA-256(previous hash + payload), payload being the line without `prevHash` and `hash`;
leaves and nodes are RFC 9162's, over those hashes in log order; signatures are Ed25519 over the line without its own.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import sys
from hashlib import sha256, sha512
from pathlib import Path

# Ed25519: RFC 8032, section 6, in extended coordinates. Verification only, so nothing here needs to be secret.
P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D, ROOT = -121665 * pow(121666, P - 2, P) % P, pow(2, (P - 1) // 4, P)


def add(a, b):
    s, t = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    c, d = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = t - s, d - c, d + c, t + s
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def multiply(number, point):
    result = (0, 1, 1, 0)
    while number:
        if number & 1:
            result = add(result, point)
        point, number = add(point, point), number >> 1
    return result


def decompress(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    return (x, y, 1, x * y % P)


BASE = decompress((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def ed25519_verifies(key, message, signature):
    if len(key) != 32 or len(signature) != 64:
        return False
    a, r, s = decompress(key), decompress(signature[:32]), int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L or not multiply(8, a)[0]:  # a key of small order verifies anything
        return False
    h = int.from_bytes(sha512(signature[:32] + key + message).digest(), "little") % L
    left, right = multiply(s, BASE), add(r, multiply(h, a))
    return not any((left[i] * right[2] - right[i] * left[2]) % P for i in (0, 1))


# Merkle proofs: RFC 9162, sections 2.1.3.2 and 2.1.4.2


def node(left, right):
    return sha256(b"\x01" + left + right).digest()


def included(digest, index, size, root, proof):
    if not 0 <= index < size:
        return False
    last, result = size - 1, sha256(b"\x00" + digest).digest()
    for each in proof:
        if not last:
            return False
        if index & 1 or index == last:
            result = node(each, result)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            result = node(result, each)
        index, last = index >> 1, last >> 1
    return not last and result == root


def consistent(old, old_root, new, new_root, proof):
    if not 0 < old < new:
        return old == new and old_root == new_root and not proof
    hashes = proof if old & (old - 1) else [old_root, *proof]
    if not hashes:
        return False
    index, last = old - 1, new - 1
    while index & 1:
        index, last = index >> 1, last >> 1
    first = second = hashes[0]
    for each in hashes[1:]:
        if not last:
            return False
        if index & 1 or index == last:
            first, second = node(each, first), node(each, second)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            second = node(second, each)
        index, last = index >> 1, last >> 1
    return not last and first == old_root and second == new_root


class Bad(Exception):
    """What is wrong, in one sentence."""


def require(condition, sentence):
    if not condition:
        raise Bad(sentence)


def members(text):
    """The members of one JSON object as (key, raw text) in their order: the payload is cut out of the very bytes."""
    decoder, at, found = json.JSONDecoder(), 1, {}
    require(text.startswith("{"), "it is no JSON object")
    while not text.startswith("}", at):
        require(not found or text[at : at + 1] == ",", "it is no plain JSON object")
        start = at + bool(found)
        key, at = decoder.raw_decode(text, start)
        require(isinstance(key, str) and text.startswith(":", at) and key not in found, "it is no plain JSON object")
        value, at = decoder.raw_decode(text, at + 1)
        found[key] = (value, text[start:at])
    require(at == len(text) - 1, "something follows after it")
    return found


def statement(line, kind, what, key=None):
    """A signed statement's values. With `key` it must be signed by that one."""
    try:
        found = members(line)
        values = {name: value for name, (value, _) in found.items()}
        message = "{" + ",".join(raw for name, (_, raw) in found.items() if name != "signature") + "}"
        public = bytes.fromhex(values["publicKey"])
        require(values["format"] == f"sopwith/{kind}/1", f"it is no {kind}")
        require(key is None or public.hex() == key, f"it is signed by another key, {public.hex()}")
        require(values["origin"] == sha256(public).hexdigest()[:16], "its origin is not that of its key")
        signature = base64.b64decode(values["signature"], validate=True)
        require(base64.b64encode(signature).decode() == values["signature"], "its signature is written oddly")
        require(ed25519_verifies(public, message.encode(), signature), "its signature is wrong")
    except (Bad, ValueError, KeyError, TypeError) as error:
        raise Bad(f"{what} is not valid: {error}") from error
    return values


class Verification:
    def __init__(self, folder, checkpoint, key):
        self.folder, self.copy, self.key = folder, checkpoint, key
        self.runs, self.events, self.dropped, self.needed = {}, 0, 0, {}

    def text(self, name):
        try:
            return (self.folder / name).read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise Bad(f"{name} cannot be read: {error}") from error

    def digest(self, name):
        return sha256((self.folder / name).read_bytes()).hexdigest()

    def lines(self, name):
        text = self.text(name)
        require(text.endswith("\n"), f"{name} is cut off")
        return text[:-1].split("\n")

    def run(self):
        head = statement(self.text("checkpoint.json").rstrip("\n"), "checkpoint", "checkpoint.json", self.key)
        self.key = head["publicKey"]
        self.graves = self.read_tombstones()
        for number, line in enumerate(self.lines("events.jsonl"), start=1):
            self.check_event(number, line)
        proofs = json.loads(self.text("proofs.json"))
        self.check_inclusion(head, proofs["runs"])
        self.check_contents()
        self.check_manifest()
        agreed = self.check_copy(head, {each["size"]: each["proof"] for each in proofs["consistency"]})
        return head, agreed

    def read_tombstones(self):
        there = (self.folder / "tombstones.jsonl").exists()
        lines = enumerate(self.lines("tombstones.jsonl") if there else (), start=1)
        stones = [statement(line, "tombstone", f"tombstone {number}", self.key) for number, line in lines]
        return {grave["runId"]: grave for stone in stones for grave in stone["runs"]}

    def check_event(self, number, line):
        name = f"line {number} of events.jsonl"
        try:
            found = members(line)
            event = {key: value for key, (value, _) in found.items()}
            name = f"event {event['seq']} of {event['runId']} ({name})"
            seq, before = self.runs.get(event["runId"], (0, "0" * 64))
            require(event["seq"] == seq + 1, f"event {seq + 1} of its run is due")
            require(event["prevHash"] == before, "it does not follow from the event before it in its run")
            self.check_content(event, found)
        except (Bad, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Bad(f"{name} is bad: {error}") from error
        self.runs[event["runId"]] = (event["seq"], event["hash"])
        self.events += 1

    def check_content(self, event, found):
        if event.get("dropped") is True:
            grave = self.graves.get(event["runId"])
            require(grave and event["seq"] <= grave["lastSeq"], "its content is gone, and no tombstone covers it")
            require(event["seq"] < grave["lastSeq"] or event["hash"] == grave["head"], "its tombstone names another")
            require(set(event) == {"dropped", "runId", "seq", "prevHash", "hash"}, "its content is gone, or not")
            self.dropped += 1
            return
        payload = "{" + ",".join(raw for key, (_, raw) in found.items() if key not in ("prevHash", "hash")) + "}"
        digest = sha256(bytes.fromhex(event["prevHash"]) + payload.encode()).hexdigest()
        require(digest == event["hash"], "its content is not what its hash says")
        if event["eventType"] == "run_created":
            self.needed.setdefault(f"procedures/{event['details']['procedureDigest']}.json", event)
            if event["details"].get("eventDigest"):
                self.needed.setdefault(f"triggers/{event['details']['eventDigest']}.json", event)
        if event["eventType"] == "approval_requested":
            self.needed.setdefault(f"envelopes/{event['details']['digest']}.json", event)

    def check_inclusion(self, head, proofs):
        proven = {each["runId"]: each for each in proofs}
        require(len(proofs) == len(proven) and set(proven) <= set(self.runs), "a run that has a proof is missing")
        for run_id, (seq, digest) in self.runs.items():
            what, proof = f"event {seq} of {run_id}", proven.get(run_id)
            require(proof, f"{what} has no proof")
            require(proof["lastSeq"] == seq, f"event {seq + 1} of {run_id} is missing, up to {proof['lastSeq']}")
            path, root = [bytes.fromhex(each) for each in proof["proof"]], bytes.fromhex(head["root"])
            is_there = included(bytes.fromhex(digest), proof["position"] - 1, head["size"], root, path)
            require(is_there, f"{what} is not the one in the signed log, or one before it was changed")

    def check_contents(self):
        for name, event in self.needed.items():
            wrong = f"event {event['seq']} of {event['runId']} is bad: {name}"
            require(re.fullmatch(r"[a-z]+/[0-9a-f]{64}\.json", name), f"{wrong} is no digest")
            require((self.folder / name).is_file(), f"{wrong} is missing")
            require(self.digest(name) == Path(name).stem, f"{wrong} was changed")

    def check_manifest(self):
        manifest = statement(self.text("bundle.json").rstrip("\n"), "bundle", "bundle.json", self.key)
        there = {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if not path.is_dir()}
        strange = sorted(there ^ {*manifest["files"], "bundle.json"})
        require(not strange, f"{', '.join(strange)}: there and not listed in bundle.json, or listed and not there")
        for name, digest in manifest["files"].items():
            require(self.digest(name) == digest, f"{name} was changed")

    def check_copy(self, head, proofs):
        """The greatest size at which a checkpoint from outside agrees; 0 without one."""
        if self.copy is None:
            return 0
        agreed, text = 0, self.copy.read_bytes().decode()
        for number, line in enumerate(filter(None, (text.rpartition("\n")[0] or text).split("\n")), start=1):
            size = json.loads(line)["size"]
            if size not in proofs and size != head["size"]:
                continue
            what = f"checkpoint {number} in {self.copy}"
            trusted = statement(line, "checkpoint", what, self.key)
            old, new, *path = (bytes.fromhex(each) for each in (trusted["root"], head["root"], *proofs.get(size, [])))
            require(
                consistent(size, old, head["size"], new, path),
                f"one of the events 1 to {size} of the log is not what it was when {what} was signed",
            )
            agreed = max(agreed, size)
        require(agreed, f"{self.copy} holds no checkpoint that this bundle has a proof for: export it again")
        return agreed


def main():
    parser = argparse.ArgumentParser(description="Verifies a bundle of run records.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkpoint", type=Path, metavar="COPY", help="checkpoints that were kept somewhere else")
    parser.add_argument("--key", type=str.lower, metavar="HEX", help="the public key that must have signed")
    done = Verification(**vars(parser.parse_args()))
    try:
        head, agreed = done.run()
    except (Bad, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        print(f"BAD: {error}")
        return 1
    print(f"fine: {done.events} events of {len(done.runs)} runs, {done.dropped} without content")
    print(f"log: {head['size']} events, signed {head['timestamp']} by {head['publicKey']}")
    reach = f"agrees up to event {agreed}" if agreed else "none was given: the key's owner could have made it up"
    print(f"outside checkpoint: {reach}")
    print("proven: nothing here was edited, added, left out or moved since it was signed")
    print("not proven: that what was recorded is true, that clocks and accounts were right, that no run is left out")
    return 0


if __name__ == "__main__":
    sys.exit(main())
