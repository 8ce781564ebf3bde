"""Runs given to others and taken from them: publications, and the union of two stores."""
