"""Names of topics, keys and channels in one place; settings may change the topics and the prefix."""

from __future__ import annotations

from dataclasses import dataclass

TICKS_TOPIC = "ticks"
PARTIALS_TOPIC = "partials"
CHECKPOINTS_TOPIC = "checkpoints"
COMPOSITIONS_TOPIC = "compositions"
CONTROL_TOPIC = "control"
LEVELS_TOPIC = "levels"
CLOSES_TOPIC = "closes"
INDEX_CLOSES_TOPIC = "index-closes"
DEAD_LETTERS_TOPIC = "dead-letters"

REDIS_PREFIX = "idx:v1:"

#: Key of the claims that a publisher appends to the partials topic; its offset is the publisher's epoch (law 6).
CLAIM_KEY = b"claim"


@dataclass(frozen=True, slots=True)
class RedisNames:
    """Keys and channels under one prefix (`formats.md`, Redis)."""

    prefix: str = REDIS_PREFIX

    def snap(self, code: str) -> str:
        """Key of an index's newest snapshot, for late joiners."""
        return f"{self.prefix}snap:{code}"

    def level(self, code: str) -> str:
        """Channel of an index's snapshots."""
        return f"{self.prefix}level:{code}"

    def stream(self, code: str) -> str:
        """Stream of an index's last snapshots, for filling gaps."""
        return f"{self.prefix}stream:{code}"

    @property
    def every_level(self) -> str:
        """Pattern that subscribes to all indexes."""
        return f"{self.prefix}level:*"

    @property
    def levels(self) -> str:
        """Channel of arrays: all snapshots of one publication."""
        return f"{self.prefix}levels"

    @property
    def heartbeat(self) -> str:
        """Channel of the publisher's heartbeat, once a second."""
        return f"{self.prefix}heartbeat"

    @property
    def prices(self) -> str:
        """Hash of symbol to last price and time, mirrored once a second."""
        return f"{self.prefix}prices"

    def closes(self, code: str) -> str:
        """Hash of session date to official close of an index."""
        return f"{self.prefix}closes:{code}"

    def mirrored(self, partition: int) -> str:
        """Key of the epoch of the newest owner of a tick partition that has mirrored its prices."""
        return f"{self.prefix}mirrored:{partition}"

    @property
    def snaps(self) -> str:
        """Hash of code to snapshot, for publications too large for a key each."""
        return f"{self.prefix}snaps"

    @property
    def publication(self) -> str:
        """Key of the newest publication's epoch and number, against which late ones are fenced."""
        return f"{self.prefix}publication"

    @property
    def epoch(self) -> str:
        """Key of the newest publisher's epoch, against which older ones are fenced."""
        return f"{self.prefix}epoch"
