"""The words of a CEL expression: names, calls and patterns in it. CEL reads it again; this only finds them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

_MAX_PATTERN = 256
_MAX_PROGRAM = 2_000


class Unsound(Exception):
    """The expression cannot be a condition; the text says why, in one sentence without a full stop."""


_TOKEN = re.compile(
    r"(?P<gap>\s+|//[^\n]*)"
    r"|(?P<text>[bB]?[rR](?:\"\"\"[\s\S]*?\"\"\"|'''[\s\S]*?'''|\"[^\"\n]*\"|'[^'\n]*')"
    r"|[bB]?(?:\"\"\"(?:[^\\]|\\[\s\S])*?\"\"\"|'''(?:[^\\]|\\[\s\S])*?'''"
    r"|\"(?:[^\\\"\n]|\\.)*\"|'(?:[^\\'\n]|\\.)*'))"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*|`[^`\n]*`)"
    r"|(?P<number>[0-9][0-9A-Za-z]*)"
    r"|(?P<sign>[\s\S])"
)
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ROOTS = frozenset({"event", "params", "run", "steps"})


class Token(msgspec.Struct, frozen=True):
    kind: str
    text: str
    start: int
    end: int

    @property
    def literal(self) -> str | None:
        """The contents of a text literal without escapes; None for anything else."""
        if self.kind != "text" or self.text[0] in "bB":
            return None
        raw = self.text[0] in "rR"
        body = self.text[1:] if raw else self.text
        quotes = 3 if body[:3] in ('"""', "'''") and len(body) >= 6 else 1
        inner = body[quotes:-quotes]
        return inner if raw or "\\" not in inner else _unescaped(inner)


def tokens_of(expression: str) -> tuple[Token, ...]:
    return tuple(
        Token(found.lastgroup or "", found[0], found.start(), found.end())
        for found in _TOKEN.finditer(expression)
        if found.lastgroup != "gap"
    )


def _is_call(tokens: tuple[Token, ...], at: int) -> bool:
    return at + 1 < len(tokens) and tokens[at].kind == "name" and tokens[at + 1].text == "("


def chains(tokens: tuple[Token, ...]) -> Iterator[tuple[int, int, list[str]]]:
    """Each dotted or indexed name from one of the roots: its first token, the one after it, and its parts."""
    at = 0
    while at < len(tokens):
        start, at = at, at + 1
        if tokens[start].text not in _ROOTS or (start and tokens[start - 1].text == "."):
            continue
        parts = [tokens[start].text]
        while (found := _part(tokens, at)) is not None:
            part, at = found
            parts.append(part)
        yield start, at, parts


def _part(tokens: tuple[Token, ...], at: int) -> tuple[str, int] | None:
    """`.name` or `['name']` at this token, and the token after it."""
    following = tokens[at : at + 3]
    if len(following) >= 2 and following[0].text == "." and following[1].kind == "name":
        return None if _is_call(tokens, at + 1) else (following[1].text.strip("`"), at + 2)
    if len(following) == 3 and following[0].text == "[" and following[2].text == "]":
        literal = following[1].literal
        return (literal, at + 3) if literal is not None and _PLAIN.fullmatch(literal) else None
    return None


GIVEN = "given"
"""`has(params.tag)` becomes the name `given.params.tag`, which is true or false: CEL's own asks nothing of a name."""


def rewritten(expression: str, tokens: tuple[Token, ...]) -> str:
    """`steps['2'].outputs.url` as one dotted name, which has a type: its parts stand in backticks."""
    text, done = "", 0
    asked = {start for start, _end, _parts in asked_for(tokens)}
    for start, end, parts in chains(tokens):
        if start in asked:
            parts = [GIVEN, *parts]
            start, end = start - 2, end + 1
        elif all(token.text not in "[]" for token in tokens[start:end]):
            continue
        text += expression[done : tokens[start].start] + parts[0] + "".join(f".`{part}`" for part in parts[1:])
        done = tokens[end - 1].end
    return text + expression[done:]


def asked_for(tokens: tuple[Token, ...]) -> Iterator[tuple[int, int, list[str]]]:
    """The chains that are all that `has()` is asked about."""
    at = set(calls(tokens, "has"))
    for start, end, parts in chains(tokens):
        if start - 2 in at and len(parts) > 1 and end < len(tokens) and tokens[end].text == ")":
            yield start, end, parts


def calls(tokens: tuple[Token, ...], *functions: str) -> Iterator[int]:
    """Where one of these functions is called."""
    return (at for at, token in enumerate(tokens) if token.text in functions and _is_call(tokens, at))


def refuse_dyn(tokens: tuple[Token, ...]) -> None:
    if any(True for _ in calls(tokens, "dyn")):
        raise Unsound("dyn() takes the types away, and values of different types are never equal")


def patterns(tokens: tuple[Token, ...]) -> int:
    """How large the patterns of all `matches` are together. Unsound for one that is no literal, bad or too large."""
    size = 0
    for at in calls(tokens, "matches"):
        literal = tokens[at + 2].literal if at + 3 < len(tokens) and tokens[at + 3].text == ")" else None
        if literal is None or tokens[at - 1].text != ".":
            raise Unsound("matches takes one pattern, written out: value.matches('v[0-9]+')")
        size += _program_size(literal)
    if size > _MAX_PROGRAM:
        raise Unsound("its patterns are too large: fewer or smaller repeat counts, please")
    return size


def _program_size(pattern: str) -> int:
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = 256 * 1024
    if len(pattern) > _MAX_PATTERN:
        raise Unsound(f"a pattern is longer than {_MAX_PATTERN} characters")
    try:
        return int(re2.compile(pattern, options).programsize)
    except re2.error as error:
        reason = error.args[0]
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise Unsound(f"a pattern cannot be used: {text}") from None


_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([0-3][0-7]{2})|([\s\S]))")
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", **{c: c for c in "\\?\"'`"}}


def _unescaped(text: str) -> str | None:
    """The text that a literal stands for, or None if it has an escape that CEL does not know."""
    parts: list[str] = []
    done = 0
    for found in _ESCAPE.finditer(text):
        code = next((int(digits, 16) for digits in found.group(1, 2, 3) if digits), None)
        code = int(found[4], 8) if found[4] else code
        if code is None and found[5] not in _ESCAPED:
            return None
        if code is not None and (code > 0x10FFFF or 0xD800 <= code <= 0xDFFF):
            return None
        parts += (text[done : found.start()], _ESCAPED[found[5]] if code is None else chr(code))
        done = found.end()
    return "".join((*parts, text[done:]))
