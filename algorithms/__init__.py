"""Built-in inference algorithms, one a file."""
