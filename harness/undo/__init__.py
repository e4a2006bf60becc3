"""What a run takes back: lock, journal, undo."""
