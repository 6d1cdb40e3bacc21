"""This machine's figures: what `capstream bench` measures."""
