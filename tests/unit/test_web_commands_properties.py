"""Whatever is sent as a command: an answer of ours, never an unexpected error."""

from __future__ import annotations

import asyncio

import orjson
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.played_commands import OPERATOR, Played, parts
from tests.unit.test_web_commands import COMMANDS
from tests.unit.web_parts import problem_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SCALAR = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUE = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8)
ORDER = ("target", "reason", "version", "revision", "plan", "inputs", "immediate", "skip_validation", "create_backup", "dry_run")
WORDS = st.sampled_from([*ORDER, "override", "matchers", "duration", "until", "held", "step"])
LIKELY = TEXT | st.sampled_from(
    ["shop", "1h", "2026-03-01T13:00:00Z", "9999-12-31T23:59:59-14:00", "99999999y", 'a=~"("', 'a="b"']
)
BODY = st.dictionaries(
    WORDS, VALUE | LIKELY | st.lists(LIKELY, max_size=3) | st.dictionaries(TEXT, LIKELY, max_size=3), max_size=8
)


@given(st.sampled_from(COMMANDS), BODY | VALUE, TEXT)
def test_whatever_a_command_says_the_answer_is_ours(command: tuple[str, str], body: object, key: str) -> None:
    method, path = command

    async def ask() -> None:
        async with parts(Played()).client() as client:  # it raises what the service does not answer itself
            content = orjson.dumps(body)
            sent = [(b"authorization", OPERATOR["Authorization"].encode()), (b"content-type", b"application/json")]
            name = [(b"idempotency-key", key.encode())] if key.isprintable() else []
            answer = await client.request(method, path, content=content, headers=[*sent, *name])
            assert answer.status_code in {200, 201, 202, 400}
            if answer.status_code == 400:
                problem_of(answer)

    asyncio.run(ask())


@given(st.sampled_from(COMMANDS), st.binary(max_size=60))
def test_whatever_bytes_are_sent_the_answer_is_ours(command: tuple[str, str], body: bytes) -> None:
    method, path = command

    async def ask() -> None:
        async with parts(Played()).client() as client:
            answer = await client.request(method, path, content=body, headers={**OPERATOR, "Content-Type": "application/json"})
            assert answer.status_code in {200, 201, 202, 400}

    asyncio.run(ask())
