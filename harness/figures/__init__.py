"""Figure recipes: stored rows in, a figure out."""
