"""What a run writes down: events, evidence, with secrets masked."""
