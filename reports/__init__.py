"""A finished run becomes documents. All of them are made from the record alone."""
