"""What is asked for: runs, budgets, experiments, plugins by name, and the TOML files that say so."""
