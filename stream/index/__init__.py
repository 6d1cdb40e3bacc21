"""The index engine: pure, exact, and ignorant of Kafka, Redis, clocks and files.

Read the modules in the order of a tick's road: `universe` (who), `definitions` (which indexes), `composition` (index
shares, reference values, divisors), `ticks` (a batch of trades as columns), `book` (last good prices of a partition),
`partial` (its additive contribution to every index), `level` (one division), `snapshot` (what a screen needs).
"""
