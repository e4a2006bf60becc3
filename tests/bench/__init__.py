"""Figures and goals: `tox -e bench`, on a quiet machine; no gate runs them."""
