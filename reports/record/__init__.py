"""The record, read back and judged."""
