"""Which prices are in force: `docs/prices.md` in plain Python, tick by tick, for what a simulated market can bring."""

from __future__ import annotations

from dataclasses import dataclass, field

from stream.index.composition import Composition
from week.days import SECOND, cash_phase, day_of, hours, last_close
from week.market import Tick

NONE = -1
TRADE, CANCEL, CORRECTION, HALT, RESUME = 0, 1, 2, 4, 5

#: Letters of venues, and where a stock is listed.
MARKETS = {"N": "XNYS", "A": "XASE", "P": "ARCX", "Q": "XNAS", "T": "XNAS", "Z": "BATS"}

KEPT = 8


@dataclass
class Kept:
    """A print that can be cancelled."""

    price: int
    ts: int
    seq: int
    extended: bool
    dead: bool = False


@dataclass
class Stock:
    """What is known of one constituent; prices in 1/10000 dollar, times in ns."""

    reference: int
    market: str
    #: A print that moves an index by more is held back.
    guard: int
    price: int
    close: int
    ts: int = NONE
    extended: int = 0
    extended_ts: int = NONE
    opening: int = 0
    official: int = 0
    official_ts: int = NONE
    declared: bool = False
    corrected: bool = False
    halted: bool = False
    resumed: bool = False
    suspect: tuple[int, int, int] | None = None
    kept: list[Kept] = field(default_factory=list)

    @property
    def newest(self) -> int:
        return max(self.ts, self.extended_ts)

    def printed(self, starts: int) -> bool:
        """Tell whether it has a regular print or an official close of the session that began then."""
        return NONE < self.ts >= starts


@dataclass
class Contract:
    """What is known of a futures contract: its price, and that at the last cash close before it."""

    price: int = 0
    ts: int = NONE
    basis: int = 0
    basis_ts: int = NONE
    suspect: tuple[int, int, int] | None = None

    @property
    def newest(self) -> int:
        return self.ts


class Ledger:
    """The prices of all stocks and contracts.

    Attributes
    ----------
    session, starts
        In force, and when it began.
    seen
        How often each sort of thing happened, for whoever asks whether it did.
    """

    def __init__(self, composition: Composition) -> None:
        guards = _guards(composition)
        self.stocks = [
            Stock(one.price, one.attributes["mic"], guards[row], one.price, one.price)
            for row, one in enumerate(composition.universe.instruments)
        ]
        self.contracts = [Contract() for _ in composition.futures.contracts]
        self.session, self.starts = "", 0
        self.seen: dict[str, int] = {}

    def clock(self) -> int:
        """Give the newest event time of any price."""
        stocks = max(each.newest for each in self.stocks)
        return max(stocks, max((each.ts for each in self.contracts), default=NONE))

    def roll(self, session: str, starts: int) -> None:
        """Begin a session: last prices become previous closes, and nothing has opened or closed."""
        self.session, self.starts = session, starts
        for each in self.stocks:
            each.close = each.price
            each.opening = each.official = 0
            each.official_ts, each.declared, each.corrected = NONE, False, False
            each.suspect, each.resumed = None, False
        for contract in self.contracts:
            contract.suspect = None

    def take(self, tick: Tick) -> None:
        if tick.row >= len(self.stocks):
            self._contract(self.contracts[tick.row - len(self.stocks)], tick)
            return
        stock = self.stocks[tick.row]
        if tick.kind == TRADE:
            self._trade(stock, tick)
        elif tick.kind == HALT:
            stock.halted, stock.resumed = True, False
            self._note("halt")
        elif tick.kind == RESUME:
            stock.halted, stock.resumed = False, True
        else:
            self._undo(stock, tick)

    def _note(self, what: str) -> None:
        self.seen[what] = self.seen.get(what, 0) + 1

    def _contract(self, contract: Contract, tick: Tick) -> None:
        first = contract.ts < self.starts <= tick.ts
        limit = contract.price * 1000 // 10_000
        far = not first and abs(tick.price - contract.price) > limit
        if far and not _confirmed(contract.suspect, tick):
            contract.suspect = (tick.price, tick.ts, tick.seq)
            return
        contract.suspect = None
        closed = last_close(tick.ts)
        if closed > contract.basis_ts:
            contract.basis = contract.price if NONE < contract.ts < closed else 0
            contract.basis_ts = closed
        contract.price, contract.ts = tick.price, tick.ts

    def _trade(self, stock: Stock, tick: Tick) -> None:
        regular = cash_phase(tick.ts) == "regular"
        primary = MARKETS.get(tick.venue) == stock.market
        if tick.cond in {"M", "9"}:
            if primary and not regular:
                self._close(stock, tick, declared=True)
        elif tick.cond == "Q":
            if primary and regular and not stock.opening:
                stock.opening = tick.price
        elif tick.cond == "6" and primary and not regular:
            self._close(stock, tick, declared=False)
        elif regular and tick.cond in {"@", "F", "O", "5", "6"}:
            self._regular(stock, tick, primary=primary)
        elif not regular and tick.cond in {"@", "F", "T", "O", "5", "6"}:
            self._extend(stock, tick)

    def _regular(self, stock: Stock, tick: Tick, *, primary: bool) -> None:
        if stock.halted and tick.cond not in {"O", "5"}:
            self._note("print in a halt")
            return
        first = stock.ts < self.starts <= tick.ts
        opened = hours(day_of(tick.ts))[0]
        wide = tick.ts < opened + 900 * SECOND
        if not self._believes(stock, tick, stock.price, first=first, wide=wide):
            return
        stock.price, stock.ts = tick.price, tick.ts
        self._keep(stock, tick, extended=False)
        if primary and not stock.opening:
            stock.opening = tick.price

    def _extend(self, stock: Stock, tick: Tick) -> None:
        if stock.halted:
            return
        live = stock.extended_ts >= self.starts and stock.extended_ts > stock.ts
        good = stock.extended if live else stock.price
        first = stock.newest < self.starts <= tick.ts
        if not self._believes(stock, tick, good, first=first, wide=True):
            return
        stock.extended, stock.extended_ts = tick.price, tick.ts
        self._keep(stock, tick, extended=True)

    def _believes(self, stock: Stock, tick: Tick, good: int, *, first: bool, wide: bool) -> bool:
        """Hold back what is far from the last good price, unless it is a first one or confirms what was held back."""
        exempt = first or stock.resumed or stock.halted
        stock.resumed = stock.halted = False
        limit = good * 1000 * (3 if good < 30_000 else 1) * (2 if wide else 1) // 10_000
        far = abs(tick.price - good) > min(limit, stock.guard)
        if far and not exempt and not _confirmed(stock.suspect, tick):
            stock.suspect = (tick.price, tick.ts, tick.seq)
            self._note("suspect")
            return False
        stock.suspect = None
        return True

    def _close(self, stock: Stock, tick: Tick, *, declared: bool) -> None:
        closed = last_close(tick.ts)
        known = stock.official_ts >= closed
        if known and stock.declared and not declared:
            return
        good = stock.official if known else stock.price
        if abs(tick.price - good) > stock.guard and not _confirmed(stock.suspect, tick):
            stock.suspect = (tick.price, tick.ts, tick.seq)
            return
        stock.suspect = None
        if known and tick.price != stock.official:
            stock.corrected = True
            self._note("corrected close")
        stock.official, stock.official_ts, stock.declared = tick.price, tick.ts, declared
        stock.price, stock.ts = tick.price, max(tick.ts, stock.ts)
        self._keep(stock, tick, extended=False)

    def _keep(self, stock: Stock, tick: Tick, *, extended: bool) -> None:
        stock.kept.append(Kept(tick.price, tick.ts, tick.seq, extended))
        del stock.kept[:-KEPT]

    def _undo(self, stock: Stock, tick: Tick) -> None:
        named = [each for each in stock.kept if (each.ts, each.seq) == (tick.ts, tick.seq)]
        if not named or named[-1].dead:
            return
        one = named[-1]
        standing = [each for each in stock.kept if not each.dead and not each.extended]
        stands = standing[-1:] == [one] and stock.ts == one.ts
        if tick.kind == CORRECTION:
            one.price = tick.price
            if stands:
                stock.price = tick.price
                self._note("correction of a last price")
            return
        one.dead = True
        if not stands:
            return
        self._note("bust of a last price")
        rest = standing[:-1]
        stock.ts = rest[-1].ts if rest else NONE
        stock.price = rest[-1].price if rest and rest[-1].ts >= self.starts else stock.close


def _confirmed(suspect: tuple[int, int, int] | None, tick: Tick) -> bool:
    if suspect is None:
        return False
    price, ts, seq = suspect
    near = abs(tick.price - price) * 10_000 <= price * 500
    return near and tick.ts - ts <= 600 * SECOND and (tick.ts, tick.seq) != (ts, seq)


def _guards(composition: Composition) -> list[int]:
    """Say by how much each price may move before an index moves by 2 % of its reference value."""
    guards = [2**62] * len(composition.universe)
    for index in composition.indexes:
        most = index.reference_value * 200 // 10_000
        for row, shares in zip(index.row.tolist(), index.shares.tolist(), strict=True):
            if shares:
                guards[row] = min(guards[row], most // shares)
    return guards
