"""What every run stands on: ranks, seeds, files that appear whole, the run folder."""
