"""Datasets in memory, the file formats in which they are published, and downloads."""
