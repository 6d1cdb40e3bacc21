"""Simulated weeks, from the first futures on Sunday to the last trades on Friday, through the product's own code.

Read `days` (what the calendar should say, by hand), `market` (what goes in), `ledger` (which prices are in force, tick by
tick), `expected` (what a snapshot should say of them), `opening` (the hand-over, stock by stock), `played` (the product,
between a log and a sink in memory), `checks` (what is compared) and `run`.
"""
