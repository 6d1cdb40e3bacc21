"""Settings: one frozen struct, read once from the environment, passed down by argument.

A field `kafka_url` is the variable `CAPSTREAM_KAFKA_URL`. Unknown `CAPSTREAM_...` variables are refused, so that a misspelt
one cannot be mistaken for a default.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from stream.errors import SettingsError
from stream.index.price_rules import PriceRules
from stream.session.calendar import Calendar, read_table
from stream.wire import names

PREFIX = "CAPSTREAM_"

#: redis-py takes a password from the query, too.
_QUERY_PASSWORD = re.compile(r"(?i)([?&]password=)[^&#]*")

Partials = Literal["memory", "topic"]

_Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Natural = Annotated[int, msgspec.Meta(ge=0)]
_Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How this process runs.

    Attributes
    ----------
    kafka_url
        Address of the Kafka brokers, `host:port` separated by commas; empty means the embedded ones that are up, else
        127.0.0.1:9092.
    redis_url
        Address of Redis; empty means the embedded one that is up, else redis://127.0.0.1:6379/0.
    home
        Folder for embedded services; empty means the user's own data folder.
    constituents
        Path of a constituents file; empty means the bundled one.
    indexes
        Path of a file of index definitions, which adds to the bundled ones or replaces them; empty means none.
    calendar
        Path of a file of closures and hours that adds to the bundled calendar; empty means none.
    futures
        Path of a file of futures contracts in place of the bundled one; empty means the bundled one.
    price_limit_bp
        A print further than this from the last good one is held back until another confirms it, in 1/100 percent; 0: none.
    guard_bp
        The same for a print that moves an index by more than this.
    odd_lots
        Whether odd lots move the overnight estimate.
    ticks_topic, partials_topic, checkpoints_topic, compositions_topic, control_topic, levels_topic, closes_topic, \
    index_closes_topic, dead_letters_topic
        Names of the topics.
    partitions
        Number of tick partitions, where the topic must be created.
    group
        Kafka consumer group: workers of one group share the partitions.
    session_timeout_s
        A worker that has not been heard of for so long loses its partitions to the others.
    progress_timeout_s
        A worker whose partitions hold new records, none of which it applies for so long, ends, to be started again.
    checkpoint_s
        Time between two checkpoints of a book: about so much of the log is read again after a crash.
    feed_silent_s
        In regular hours, a live feed without any tick for so long makes the indexes stale.
    stale_after_s
        A partition that has not been heard of for so long makes its indexes stale.
    partials
        `memory` where one worker runs all of it, `topic` where many do.
    publish_backlog
        Whether levels are published also while a backlog is being read, with their old event times.
    cadence_ms
        Least time between two publications; 0 publishes whenever the last one is done.
    redis_prefix
        Begins every key and channel.
    stream_length
        About how many snapshots an index's stream keeps.
    packed_above
        A publication of more indexes than this is packed into one message and one hash.
    dead_letters_per_s
        Dead letters written in a second; beyond it they are only counted.
    metrics_host, metrics_port
        Where `/metrics`, `/livez` and `/readyz` are served; port 0 takes a free one.
    log_level
        DEBUG, INFO, WARNING or ERROR.
    """

    kafka_url: str = ""
    redis_url: str = ""
    home: str = ""
    constituents: str = ""
    indexes: str = ""
    calendar: str = ""
    futures: str = ""
    price_limit_bp: _Natural = 1_000
    guard_bp: _Natural = 200
    odd_lots: bool = False
    ticks_topic: str = names.TICKS_TOPIC
    partials_topic: str = names.PARTIALS_TOPIC
    checkpoints_topic: str = names.CHECKPOINTS_TOPIC
    compositions_topic: str = names.COMPOSITIONS_TOPIC
    control_topic: str = names.CONTROL_TOPIC
    levels_topic: str = names.LEVELS_TOPIC
    closes_topic: str = names.CLOSES_TOPIC
    index_closes_topic: str = names.INDEX_CLOSES_TOPIC
    dead_letters_topic: str = names.DEAD_LETTERS_TOPIC
    partitions: _Positive = 4
    group: str = "capstream"
    session_timeout_s: _Seconds = 6.0
    progress_timeout_s: _Seconds = 30.0
    checkpoint_s: _Seconds = 5.0
    stale_after_s: _Seconds = 3.0
    feed_silent_s: _Seconds = 5.0
    partials: Partials = "memory"
    publish_backlog: bool = False
    cadence_ms: _Natural = 100
    redis_prefix: str = names.REDIS_PREFIX
    stream_length: _Positive = 10_000
    packed_above: _Positive = 500
    dead_letters_per_s: _Natural = 100
    metrics_host: str = "127.0.0.1"
    metrics_port: _Port = 9108
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.shown().items())
        return f"Settings({shown})"

    def shown(self) -> dict[str, Any]:
        """Give every setting, with the passwords in addresses masked."""
        values = msgspec.structs.asdict(self)
        return {
            name: mask_password(value) if name.endswith("_url") else value
            for name, value in values.items()
        }

    @property
    def calendar_text(self) -> str:
        """The user's own closures and hours, as their file has them; raises FileError where it cannot be read."""
        return read_table(Path(self.calendar)) if self.calendar else ""

    @property
    def trading_calendar(self) -> Calendar:
        """The calendar that these settings name; raises FileError where its file cannot be used."""
        return Calendar.over_bundled(self.calendar_text, file=self.calendar)

    @property
    def price_rules(self) -> PriceRules:
        """What is held back as a suspect."""
        return PriceRules(
            limit_bp=self.price_limit_bp, guard_bp=self.guard_bp, odd_lots=self.odd_lots
        )

    @property
    def redis_names(self) -> names.RedisNames:
        """Keys and channels under this prefix."""
        return names.RedisNames(self.redis_prefix)

    @property
    def constituents_path(self) -> Path | None:
        """Path of the constituents file, or None for the bundled one."""
        return Path(self.constituents) if self.constituents else None

    @property
    def futures_path(self) -> Path | None:
        """Path of the futures file, or None for the bundled one."""
        return Path(self.futures) if self.futures else None

    @property
    def indexes_path(self) -> Path | None:
        """Path of the index definitions, or None."""
        return Path(self.indexes) if self.indexes else None


def variable(field: str) -> str:
    """Give the environment variable of a setting.

    Examples
    --------
    >>> variable("kafka_url")
    'CAPSTREAM_KAFKA_URL'
    """
    return PREFIX + field.upper()


def mask_password(url: str) -> str:
    """Hide the password of an address.

    Examples
    --------
    >>> mask_password("redis://user:secret@10.0.0.1:6379/0")
    'redis://user:********@10.0.0.1:6379/0'
    """
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    # Not urlsplit: a password with characters that should have been encoded must be hidden too.
    user_info, at, host = rest.rpartition("@")
    user, colon, _ = user_info.partition(":")
    if at and colon:
        rest = f"{user}:********@{host}"
    return scheme + separator + _QUERY_PASSWORD.sub(r"\1********", rest)


def read_settings(environment: Mapping[str, str], **overrides: Any) -> Settings:
    """Read settings from environment variables.

    Parameters
    ----------
    environment
        Usually `os.environ`.
    **overrides
        Fields given on the command line; None means not given.

    Raises
    ------
    SettingsError
        Naming the variable that is unknown or has an unusable value.
    """
    fields = {variable(name): name for name in Settings.__struct_fields__}
    values: dict[str, Any] = {}
    for name, text in environment.items():
        if not name.startswith(PREFIX):
            continue
        if name not in fields:
            close = difflib.get_close_matches(name, fields, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise SettingsError(f"{name}: unknown setting{hint}")
        values[fields[name]] = text
    values |= {name: value for name, value in overrides.items() if value is not None}
    try:
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        raise SettingsError(
            f"{variable(path.rstrip('`'))}: {message}" if path else message
        ) from error
