"""Good messages of every kind, and a hundred ways to spoil them; all by a seed."""

from __future__ import annotations

import json
import random
import re
import struct
from collections.abc import Callable, Iterator

import oracle
import wire_oracle as wire

_KINDS = ("json", "json", "json", "array", "frame", "frame", "control", "nothing")

_NUMBERS = [
    *(
        b"0 -0 -1 1.5 1e5 0.00005 0.00015 1.00005 2.675 -1e-5 1e-400 1e309 1e400 -1e999 .5 1. +1 01 0x1 1e 1_000 "
        b"1e99999999999999999999 1e-99999999999999999999 NaN Infinity -Infinity nan 4294967295 4294967296 "
        b"631151999999999999 631152000000000000 9223372036854775807 9223372036854775808 18446744073709551615 "
        b"18446744073709551616 99999999999999999999 450359962737.04965 1784304000000000000.0"
    ).split(),
    b"1e30",
    b"1.7e308",
    b"5000000000000000.00005",
    b"9" * 400,
    b"9" * 4301,
    b"0." + b"0" * 400 + b"1",
    b"1" + b"0" * 30 + b"e-28",
]
_VALUES = [
    *(
        b'null true false "" "1" [] {} [[]] {"a":[1,{"b":null}]} nul truefalse - "AAPL" "trade" "halt" "@" "?*" '
        b'"NINECHARS" "A\\u0000" "\\u0041APL" "\\ud800" "\\ud83d\\ude00" "\\u00g0" "@@@@@@@@@@@@@@@@@"'
    ).split(),
    b'"A B"',
    b'"\xff"',
    b'"\xed\xa0\x80"',
    b'"\x01"',
]
_TOKENS = [
    *(
        b'{ } [ ] , : " \\ \\u \\" // # 0 - . e null TICK CTRL { "a": ,"x":1 ,"symbol":"A" ,"price":2 ,"ts":0 ,"seq":3'
    ).split(),
    *(b"\0", b"\xff", b"\xc3\x28", b"\xef\xbb\xbf", b"\n", b" ", b"\t", b"\x0b", b"\x80"),
]

#: Fields of a frame's header and of its records: position, form, and numbers at the edges of what they may hold.
Field = tuple[int, str, tuple[int, ...]]
_HEADER: tuple[Field, ...] = (
    (0, "<I", (0, 2**32 - 1)),
    (4, "<H", (0, 1, 2, 256)),
    (6, "<H", (0, 39, 40, 41, 80)),
    (8, "<I", (0, 1, 2, 3, 2**31, 2**32 - 1)),
    (12, "<I", (0, 1, 255, 256, 2**32 - 1)),
    (16, "<Q", (0, 1, 2**63, 2**64 - 1)),
    (24, "<Q", (1, 2**64 - 1)),
)
_RECORD: tuple[Field, ...] = (
    (0, "<Q", (0, 0x2020202020202020, 0x41, 0x4100, 0x410041, 0x80, 0x7F, 0x2041, 2**64 - 1)),
    (8, "<Q", (0, 1, wire.SINCE_1990 - 1, wire.SINCE_1990, 2**63 - 1, 2**63, 2**64 - 1)),
    (16, "<Q", (0, 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1)),
    (24, "<Q", (0, 1, 2**63, 2**64 - 1)),
    (32, "<I", (0, 2**32 - 1)),
    (36, "<H", (0, 1, 2**15, 2**16 - 1)),
    (38, "<B", (0, 7, 8, 255)),
    (39, "<B", (0, 127, 128, 255)),
)

_NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?")
_VALUE = re.compile(rb'(?<=:)(?:"[^"]*"|-?[0-9.]+)')


def messages(rng: random.Random, n: int) -> Iterator[bytes | None]:
    """Make messages, most of them damaged; some kinds come in runs, as they do in logs."""
    recent: list[bytes] = [wire.CONTROL]
    start = n
    while n > 0:
        kind = rng.choice(_KINDS)
        spoilt = rng.choice((0.0, 0.5, 0.9, 1.0))
        for _ in range(min(n, rng.choice((1, 3, 10, 60)))):
            # Time goes on, so that not all ticks are older than those before.
            value = _GOOD[kind](rng, wire.NOW + (start - n) * 10**6)
            recent = [*recent[-19:], value]
            if rng.random() < spoilt:
                for _ in range(rng.choice((1, 1, 1, 2, 4))):
                    value = rng.choice(_DAMAGES)(value, rng, recent)
            yield None if not value and rng.random() < 0.5 else value
            n -= 1


# ---- good messages -------------------------------------------------------------------------------


def _json(rng: random.Random, now: int) -> bytes:
    symbol = rng.choice(wire.SYMBOLS if rng.random() < 0.9 else wire.UNKNOWN)
    fields = {
        "symbol": json.dumps(symbol),
        "price": rng.choice(
            ("333.74", "1.5", "0.0001", "48.7300", "1e2", f"{rng.random() * 1000}")
        ),
        "ts": str(now + rng.randrange(10**7)),
    }
    if rng.random() < 0.7:
        fields["seq"] = str(rng.choice((0, rng.randrange(1, 2**40), rng.randrange(10))))
    if rng.random() < 0.5:
        fields["source"] = str(rng.randrange(4))
        fields["size"] = str(rng.choice((rng.randrange(1000), 2**32 - 1, 2**32, 10**30)))
    if rng.random() < 0.3:
        fields["venue"] = rng.choice(('""', '"Q"', '"N"', '"NN"', '"\\u00c9"'))
        fields["cond"] = json.dumps(rng.choice(("@", "", "F", "@TI", "?")))
    if rng.random() < 0.2:
        fields["kind"] = json.dumps(rng.choice(oracle.KINDS))
        fields["note"] = rng.choice(('"é"', "[1,2]", '{"symbol":1}', "1e999"))
    order = list(fields)
    if rng.random() < 0.3:
        rng.shuffle(order)
    return wire.json_text(fields, order, rng.choice(("", "", " ")))


def _array(rng: random.Random, now: int) -> bytes:
    return b"[" + b",".join(_json(rng, now) for _ in range(rng.randrange(6))) + b"]"


def _frame(rng: random.Random, now: int) -> bytes:
    records = [
        wire.record(
            rng.choice(wire.SYMBOLS if rng.random() < 0.9 else wire.UNKNOWN).encode(),
            now + rng.randrange(10**7),
            rng.randrange(1, 10**7),
            rng.choice((0, rng.randrange(1, 2**40))),
            rng.randrange(1000),
            rng.choice((1, 1, 1, 0, 2, 1024, 32768)),
            rng.choice((0, 0, 0, 0, rng.randrange(8))),
            rng.choice(b"QNZ\0"),
        )
        for _ in range(rng.choice((0, 1, 2, 3, 20)))
    ]
    return wire.frame(records, source=rng.randrange(4), frame_seq=rng.randrange(50))


def _control(rng: random.Random, now: int) -> bytes:
    number = rng.randrange(40)
    body = rng.choice(
        (
            {"type": "origin", "origin": rng.choice(("live", "replay", "simulated"))},
            {
                "type": "roll",
                "session": f"2026-07-{rng.randrange(10, 30)}",
                "starts_ns": now - 10**13,
                "ends_ns": now + rng.choice((0, 10**13, 10**13)),
                "number": number,
            },
            {"type": "contested", "symbols": ["{x}"], "number": number},
            {
                "type": "override",
                "symbol": rng.choice(wire.SYMBOLS),
                "action": rng.choice(("price", "bound", "exclude", "include")),
                "author": "me",
                "reason": "a test",
                "ts": now,
                "price": rng.randrange(1, 10**6),
                "home": rng.randrange(3),
                "number": number,
            },
        )
    )
    return b"CTRL" + json.dumps(body).encode()


def _nothing(rng: random.Random, _: int) -> bytes:
    return rng.choice((b"", b"noise", b"null", b"TIC", b"\0" * 72))


_GOOD: dict[str, Callable[[random.Random, int], bytes]] = {
    "json": _json,
    "array": _array,
    "frame": _frame,
    "control": _control,
    "nothing": _nothing,
}


# ---- damage --------------------------------------------------------------------------------------


def _flip_bits(value: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    spoilt = bytearray(value)
    for _bit in range(rng.choice((1, 1, 2, 8)) if spoilt else 0):
        spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
    return bytes(spoilt)


def _truncate(value: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    return value[: rng.randrange(len(value) + 1)]


def _cut_front(value: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    return value[rng.randrange(len(value) + 1) :]


def _delete(value: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    start = rng.randrange(len(value) + 1)
    return value[:start] + value[start + rng.choice((1, 1, 4, 40)) :]


def _repeat(value: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    start = rng.randrange(len(value) + 1)
    stop = start + rng.choice((1, 8, 40, len(value)))
    return value[:stop] + value[start:stop] * rng.choice((1, 1, 5)) + value[stop:]


def _insert(value: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    at = rng.randrange(len(value) + 1)
    token = rng.choice(_TOKENS) if rng.random() < 0.8 else rng.randbytes(rng.randrange(9))
    return value[:at] + token + value[at:]


def _put_before(value: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    return rng.choice((b" ", b"\n", b"\t \r", b"\xef\xbb\xbf", b"\0", b"[", b"T", b"CTRL")) + value


def _splice(value: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    other = rng.choice(others)
    return value[: rng.randrange(len(value) + 1)] + other[rng.randrange(len(other) + 1) :]


def _append(value: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    return value + rng.choice(others)


def _enclose(value: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    return b"[" + value + rng.choice((b"", b",", b",1,", b" ")) + rng.choice(others) + b"]"


def _replace(pattern: re.Pattern[bytes], choices: list[bytes]) -> Damage:
    def damage(value: bytes, rng: random.Random, _: list[bytes]) -> bytes:
        found = list(pattern.finditer(value))
        if not found:
            return value
        start, stop = rng.choice(found).span()
        return value[:start] + rng.choice(choices) + value[stop:]

    return damage


def _swap_numbers(value: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    found = list(_NUMBER.finditer(value))
    if len(found) < 2:
        return value
    first, second = sorted(rng.sample(found, 2), key=lambda one: one.start())
    return (
        value[: first.start()]
        + second.group()
        + value[first.end() : second.start()]
        + first.group()
        + value[second.end() :]
    )


def _swap_words(value: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    words = [value[i : i + 8] for i in range(0, len(value), 8)]
    if len(words) > 1:
        i, j = rng.sample(range(len(words)), 2)
        words[i], words[j] = words[j], words[i]
    return b"".join(words)


def _nest(value: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    found = list(_VALUE.finditer(value))
    start, stop = rng.choice(found).span() if found else (len(value), len(value))
    # Nesting that no reader follows costs time: it is rare.
    depth = 25_000 if rng.random() < 0.03 else rng.randrange(1, 60)
    opening, closing = rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"[", b"")))
    return value[:start] + opening * depth + b"1" + closing * depth + value[stop:]


def _change_header(value: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    return _overwrite(value, 0, rng.choice(_HEADER), rng)


def _change_record(value: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    n_records = max(1, (len(value) - 32) // 40)
    return _overwrite(value, 32 + 40 * rng.randrange(n_records), rng.choice(_RECORD), rng)


def _overwrite(value: bytes, start: int, field: Field, rng: random.Random) -> bytes:
    at, form, edges = field
    size = struct.calcsize(form)
    if len(value) < start + at + size:
        return value
    number = rng.choice(edges) if rng.random() < 0.7 else rng.randrange(2 ** (8 * size))
    return value[: start + at] + struct.pack(form, number) + value[start + at + size :]


def _misspell(value: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    name = rng.choice((b"symbol", b"price", b"ts", b"seq", b"source", b"kind", b"type", b"TICK"))
    other = rng.choice((name.swapcase(), name[:-1], name + b" ", b"seq", b"price", b"\xff"))
    return value.replace(b'"' + name + b'"', b'"' + other + b'"')


Damage = Callable[[bytes, random.Random, list[bytes]], bytes]

_DAMAGES: tuple[Damage, ...] = (
    _flip_bits,
    _flip_bits,
    _truncate,
    _cut_front,
    _delete,
    _repeat,
    _insert,
    _insert,
    _put_before,
    _splice,
    _append,
    _enclose,
    _replace(_NUMBER, _NUMBERS),
    _replace(_NUMBER, _NUMBERS),
    _replace(_VALUE, _VALUES),
    _replace(_VALUE, _VALUES),
    _swap_numbers,
    _swap_words,
    _nest,
    _change_header,
    _change_record,
    _change_record,
    _misspell,
)
