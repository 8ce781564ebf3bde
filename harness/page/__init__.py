"""A report: one page that a browser opens offline, for a reader who was not there (Altair draws its curves)."""
