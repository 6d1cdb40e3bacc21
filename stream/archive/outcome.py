"""What a verification has found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that was published otherwise than it is computed again.

    Attributes
    ----------
    record
        Offset of the level in its topic.
    code, epoch, seq
        Of the publication.
    field
        Its name.
    published, recomputed
        As they are written.
    offsets
        By tick partition, what the level stands for: all before it.
    """

    record: int
    code: str
    epoch: int
    seq: int
    field: str
    published: str
    recomputed: str
    offsets: dict[int, int]

    def __str__(self) -> str:
        offsets = ", ".join(f"{p}: {offset}" for p, offset in sorted(self.offsets.items()))
        return (
            f"{self.code} epoch {self.epoch} seq {self.seq}, {self.field}: published {self.published}, "
            f"recomputed {self.recomputed} (record {self.record} of levels; offsets {offsets})"
        )


@dataclass(slots=True)
class Outcome:
    """What became of the levels of a session: verified + held + arithmetic + copies + missing + different = records.

    Attributes
    ----------
    session
        Trade date.
    records
        Levels that were looked at.
    verified
        Computed again from the ticks, and the same to the last digit.
    held
        Said to be held, and the same as the level before, or as computed again.
    arithmetic
        Said to be held, and the same as no level that was kept; its fields agree with each other.
    copies
        Written twice, the same to the last byte.
    missing
        Stand for offsets that are not in the logs (any more).
    different
        Have at least one difference.
    carried
        Highs and lows that an earlier publisher must have published, and that were not kept.
    late
        Written by a publisher after its successor's first; counted above, too.
    differences
        How many there are, in all fields.
    first
        The first one.
    books_different
        Partitions whose books do not end as they were exported.
    incomplete
        Partitions whose log no longer begins at its start, and where it does.
    not_checked
        Fields that this version does not compute, and how often they came.
    code_versions
        Of the programs that published, and how many levels.
    epochs
        Of the publishers, and how many levels.
    """

    session: str
    records: int = 0
    verified: int = 0
    held: int = 0
    arithmetic: int = 0
    copies: int = 0
    missing: int = 0
    different: int = 0
    carried: int = 0
    late: int = 0
    differences: int = 0
    first: Difference | None = None
    books_different: list[int] = field(default_factory=list)
    incomplete: dict[int, int] = field(default_factory=dict)
    not_checked: Counter[str] = field(default_factory=Counter)
    code_versions: Counter[str] = field(default_factory=Counter)
    epochs: Counter[int] = field(default_factory=Counter)

    def passed(self, *, allow_missing: bool) -> bool:
        """Tell whether all that can be verified is right, and nothing that must be is out of reach."""
        wrong = self.differences or self.books_different
        return not wrong and (allow_missing or not self.missing)

    def report(self) -> dict[str, Any]:
        """Give it all as plain values."""
        plain: dict[str, Any] = msgspec.to_builtins(self, str_keys=True)
        return plain
