"""The record of a run: events, facts and evidence, with secrets masked."""
