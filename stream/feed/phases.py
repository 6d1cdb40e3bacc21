"""How a simulated market behaves in each phase: how much it moves, and how much it trades."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from stream.index.units import NS_PER_S
from stream.session.calendar import CashPhase, Phase, Stretch

_HOUR_NS = 3_600 * NS_PER_S

#: The regular hours that hold a whole day's movement.
_DAY_NS = int(6.5 * _HOUR_NS)

#: Movement (variance) in a span of time, as part of that in as much of an average regular session.
_EXTENDED_MOVEMENT = 0.08
_NIGHT_MOVEMENT = 0.03
_CLOSED_MOVEMENT = 0.005

#: Trades of shares in extended hours, as part of those in regular hours: least, and how much more near to them.
_EXTENDED_LEAST = 0.001
_EXTENDED_MOST = 0.02
_FADES_NS = _HOUR_NS

#: Each contract trades once in so long.
FUTURES_EVERY_NS = 1 * NS_PER_S
FUTURES_EVERY_AT_NIGHT_NS = 4 * NS_PER_S

_OPEN = (Phase.OVERNIGHT, Phase.PRE_MARKET, Phase.REGULAR, Phase.POST_MARKET)
_EXTENDED = (CashPhase.PRE_MARKET, CashPhase.POST_MARKET)


def trades(stretch: Stretch) -> bool:
    """Tell whether anything trades in a stretch."""
    return stretch.phase in _OPEN or stretch.cash_phase is not CashPhase.CLOSED


def regular_movement(
    edges_ns: NDArray[np.float64], opens_ns: int, closes_ns: int
) -> NDArray[np.float64]:
    """Share a regular session's movement out: three times as much a minute at both ends as at noon.

    Parameters
    ----------
    edges_ns
        float64, shape (n + 1,): where parts of it begin and end, ns since the opening.
    opens_ns, closes_ns
        Regular hours of the session, ns since 1970 UTC.

    Returns
    -------
    float64 array, shape (n,)
        1 in 6.5 regular hours.
    """
    length = closes_ns - opens_ns
    x = edges_ns * (2.0 / length) - 1.0
    # The integral of 0.6 + 1.2 x^2 from -1 to 1 is 2.
    done: NDArray[np.float64] = 0.5 * (0.6 * x + 0.4 * x**3) * (length / _DAY_NS)
    return np.diff(done)


def quiet_movement(stretch: Stretch, length_ns: int) -> float:
    """Give the movement of a span outside regular hours, 1 being that of 6.5 regular hours."""
    if stretch.cash_phase in _EXTENDED:
        part = _EXTENDED_MOVEMENT
    else:
        part = _NIGHT_MOVEMENT if stretch.phase in _OPEN else _CLOSED_MOVEMENT
    return part * length_ns / _DAY_NS


def extended_activity(from_regular_ns: int) -> float:
    """Tell how many shares trade outside regular hours, as part of those inside.

    Parameters
    ----------
    from_regular_ns
        Time to the opening, or since the close.
    """
    return _EXTENDED_LEAST + _EXTENDED_MOST * math.exp(-from_regular_ns / _FADES_NS)


def futures_every_ns(stretch: Stretch) -> int | None:
    """Give how often a contract trades, in ns; None where futures are closed."""
    if stretch.phase not in _OPEN:
        return None
    regular = stretch.cash_phase is CashPhase.REGULAR
    return FUTURES_EVERY_NS if regular else FUTURES_EVERY_AT_NIGHT_NS
