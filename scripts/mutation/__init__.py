"""The parts of `scripts/mutants.py`: faults, the tests that may notice them, and forks."""
