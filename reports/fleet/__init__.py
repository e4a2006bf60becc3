"""Many hosts at once: a row for each, and what those have in common that failed."""
