"""One run in memory: the loop, its marks, clocks, meters and evaluation. No input or output."""
