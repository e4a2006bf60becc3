"""The host lock, the undo journal, and the undo itself."""
