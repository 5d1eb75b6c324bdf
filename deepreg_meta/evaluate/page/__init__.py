"""Read the results of runs and write them up as one page, with tables beside it."""
