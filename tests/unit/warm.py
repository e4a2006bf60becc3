"""What every run would do anew, done once in the process that they are forked from.

No module that pytest is to rewrite is imported here: those that a run names as its plugins.
"""

from __future__ import annotations

import gc
import importlib

# What the stages' modules import, and a run itself.
import matplotlib.backends.backend_svg
import openai
from _pytest.config import default_plugins

import harness.__main__
import harness.plugin.plugin
import harness.run.job
import reports.documents
import reports.history.gate
import reports.history.news
from reports.html.drawing import Margins, figure, svg
from reports.html.page import environment

__all__ = ["harness", "matplotlib", "openai", "reports"]

for name in default_plugins:
    importlib.import_module(f"_pytest.{name}")
environment().get_template("report.html.j2")  # jinja2 keeps what it has compiled
svg(figure(1, 1, Margins())[0], "first", "first")  # matplotlib has read its fonts by then
gc.collect()
gc.freeze()  # pytest looks for garbage as each run ends, and here is none
