"""The reports' texts, in both languages."""
