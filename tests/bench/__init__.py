"""Figures, not verdicts: `tox -e bench`, on a quiet machine; no gate runs them."""
