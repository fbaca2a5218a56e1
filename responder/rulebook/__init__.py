"""Reading rulebooks: YAML to domain values, every error as file:line:column."""
