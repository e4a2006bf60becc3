"""The qualification report: a page, its pictures, its templates."""
