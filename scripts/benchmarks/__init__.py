"""The parts of `scripts/bench.py`; each module of `tables/` is one table."""
