"""Numbers from stored runs: selections, curves, published values, comparisons, tables, exports."""
