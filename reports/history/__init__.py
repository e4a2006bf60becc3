"""All runs over time: the history, what is usual, what changed."""
