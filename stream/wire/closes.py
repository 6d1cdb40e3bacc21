"""Official prices on their topics: of constituents (`closes`) and of indexes (`index-closes`), as JSON (`formats.md`)."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from stream.errors import WireError
from stream.index.units import LEVEL_DECIMALS, PRICE_DECIMALS, decimal_text, level_units


class IndexCloseRecord(msgspec.Struct):
    """The official close of an index.

    Attributes
    ----------
    code, date
        Of which index and session.
    close, previous_close
        Index points, 8 places.
    corrected
        Whether another was published before.
    composition
        In force then.
    """

    code: str
    date: str
    close: Decimal
    previous_close: Decimal
    corrected: bool = False
    composition: str = ""


_decode = msgspec.json.Decoder(IndexCloseRecord).decode


def close_key(date: str, name: str) -> bytes:
    """Give the key of a close: of a symbol, or of an index's code.

    Examples
    --------
    >>> close_key("2013-10-07", "AIG")
    b'2013-10-07/AIG'
    """
    return f"{date}/{name}".encode()


def encode_close(
    symbol: str,
    *,
    date: str,
    opening: int,
    close: int,
    close_ts: int,
    corrected: bool,
) -> bytes:
    """Write the official prices of a constituent.

    Parameters
    ----------
    symbol, date
        Of which instrument and session.
    opening, close
        1/10000 dollar; 0 where there is none yet.
    close_ts
        Event time of the close, ns since 1970 UTC.
    corrected
        Whether the close was another before.

    Examples
    --------
    >>> encode_close("AIG", date="2013-10-07", opening=490000, close=487300, close_ts=1, corrected=False)
    b'{"symbol":"AIG","date":"2013-10-07","open":49.0000,"close":48.7300,"close_ts":1,"corrected":false}'
    """
    prices = [
        decimal_text(price, PRICE_DECIMALS) if price else "null" for price in (opening, close)
    ]
    name = msgspec.json.encode(symbol).decode()
    return (
        f'{{"symbol":{name},"date":"{date}","open":{prices[0]},"close":{prices[1]},'
        f'"close_ts":{close_ts if close else "null"},"corrected":{"true" if corrected else "false"}}}'
    ).encode()


def encode_index_close(
    code: str, *, date: str, close: int, previous_close: int, corrected: bool, composition: str
) -> bytes:
    """Write the official close of an index; levels count 10^-8 index points.

    Examples
    --------
    >>> encode_index_close(
    ...     "US3", date="2013-10-07", close=100000000000, previous_close=99000000000, corrected=False, composition="c"
    ... )[:55]
    b'{"code":"US3","date":"2013-10-07","close":1000.00000000'
    """
    levels = [decimal_text(level, LEVEL_DECIMALS) for level in (close, previous_close)]
    names = [msgspec.json.encode(name).decode() for name in (code, composition)]
    return (
        f'{{"code":{names[0]},"date":"{date}","close":{levels[0]},"previous_close":{levels[1]},'
        f'"corrected":{"true" if corrected else "false"},"composition":{names[1]}}}'
    ).encode()


def decode_index_close(message: bytes) -> tuple[str, str, int]:
    """Read the official close of an index.

    Returns
    -------
    tuple of str, str, int
        Code, date and close in 10^-8 index points.

    Raises
    ------
    WireError
        Where it is not one.
    """
    try:
        record = _decode(message)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise WireError(f"index close: {error}") from error
    return record.code, record.date, level_units(record.close)
