"""Where patches are cut and how they are put together again; knows no data set and no file."""
