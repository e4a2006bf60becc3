"""All runs over time: the history, the bands, and what changed."""
