"""Both services together."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from stream.services.kafka import EmbeddedKafka
from stream.services.redis import EmbeddedRedis
from stream.services.saying import nothing
from stream.services.state import Addresses

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stream.services.saying import Say


@contextmanager
def embedded(folder: Path, *, cache: Path | None = None, say: Say = nothing) -> Iterator[Addresses]:
    """Run a Kafka and a Redis for as long as the context lasts.

    Parameters
    ----------
    folder : Path
        Where their data and logs go, in a folder for each.
    cache : Path, optional
        Where downloaded jars are kept; by default in the user's cache folder.
    say : callable
        Is told, in a sentence, what happens.

    Yields
    ------
    Addresses
        Where they answer.

    Raises
    ------
    SetupError
        Something that they are made of is not installed.
    ServiceError
        One of them did not start.

    Notes
    -----
    Redis comes first: it needs a tenth of a second, and when it is not installed, the user hears
    of it before Kafka is downloaded.
    """
    with (
        EmbeddedRedis(folder / "redis", say=say) as redis,
        EmbeddedKafka(folder / "kafka", cache=cache, say=say) as kafka,
    ):
        yield Addresses(kafka_url=kafka.url, redis_url=redis.url)
