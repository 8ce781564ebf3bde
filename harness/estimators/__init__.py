"""Built-in estimators of log p(x) and of bounds on it, one a file."""
