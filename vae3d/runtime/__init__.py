"""What every run needs: ranks, seeds, atomic files, the run folder."""
