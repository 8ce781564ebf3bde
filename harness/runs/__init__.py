"""Bringing runs to their budget: one run, many runs, tuning, and estimates of stored runs."""
