"""When the market is open: pure functions of event time."""
