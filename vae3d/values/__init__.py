"""Small values that other rooms share: intensity ranges, statistics, names and splits."""
