"""``python -m harness``: the commands that run no test; tests are run by `pytest -m acceptance`."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest

from harness import exits
from harness.errors import BadUsage
from harness.plugin import hooks, options, prefetch, recovery
from harness.plugin.session import Session, opened
from harness.reader import may_leave
from harness.record.revision import Version
from harness.text import readable

Work = Callable[[argparse.Namespace], int]  # of a command: it returns the exit status

PROFILE = "print the effective profile as TOML, secrets masked; touches nothing"
PLAN = "print what a run of the selected tests would do, stage by stage; connects to nothing"
PREFETCH = "fill a folder with all that a run takes from outside, to be carried to --offline"
RECOVER = "finish the undo of runs that died on the lab host, or were kept; runs no test"


class _Parser(argparse.ArgumentParser):
    """Ends with our status for a wrong command line: argparse's own (2) is that of Ctrl-C here."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(exits.USAGE, f"ERROR: {message}\n")


def main(words: Sequence[str]) -> int:
    """Carry out a command line; the exit status (`harness.exits`)."""
    try:
        plugins = pytest.PytestPluginManager()
        plugins.add_hookspecs(hooks)
        plugins.import_plugin("conftest")  # the root one, with all plugins that it names
        with may_leave():
            arguments = _parser(plugins.hook, words).parse_args(words)
            work: Work = arguments.work
            return work(arguments)
    except (BadUsage, pytest.UsageError) as error:
        print(readable(f"ERROR: {error}"), file=sys.stderr)
        return exits.USAGE
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except Exception:
        print(readable(traceback.format_exc()), file=sys.stderr)
        return exits.HARNESS_ERROR


def _parser(hook: Any, words: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m harness",
        description="All that is no test of a lab. The tests: pytest -m acceptance.",
        epilog="The exit statuses are those of a run; docs/commands.md has their table.",
    )
    parser.add_argument("--version", action=Version)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    profile = commands.add_parser("profile", help=PROFILE, description=PROFILE)
    options.which_lab(profile.add_argument)
    profile.set_defaults(work=_with_session(hook, words, Session.show_profile))
    below = profile.add_subparsers(metavar="init")

    plan = commands.add_parser("plan", help=PLAN, description=PLAN)
    options.which_lab(plan.add_argument)
    options.what_to_make(plan.add_argument)
    plan.add_argument(
        "-m",
        dest="mark",
        metavar="MARKEXPR",
        default="acceptance",
        help="which tests, by their marks (default: acceptance)",
    )
    plan.add_argument("tests", nargs="*", metavar="TEST", help="which tests, by file or node id")
    plan.set_defaults(work=_plan)

    recover = commands.add_parser("recover", help=RECOVER, description=RECOVER)
    options.which_lab(recover.add_argument)
    options.what_to_undo(recover.add_argument)
    recover.set_defaults(work=_with_session(hook, words, recovery.run))

    fetch = commands.add_parser("prefetch", help=PREFETCH, description=PREFETCH)
    options.which_lab(fetch.add_argument)
    options.what_to_fetch(fetch.add_argument)
    fetch.set_defaults(work=_with_session(hook, words, prefetch.run))

    hook.pytest_acceptance_commands(
        add=commands.add_parser,
        add_to_profile=below.add_parser,
        with_session=partial(_with_session, hook, words),
    )
    return parser


def _with_session(hook: Any, words: Sequence[str], work: Callable[[Session], int]) -> Work:
    """A command's work on a session of its own."""

    def carry_out(arguments: argparse.Namespace) -> int:
        root = Path(str(sys.modules["conftest"].__file__)).parent
        with opened(hook, root, arguments, ["python", "-m", "harness", *words]) as session:
            return work(session)

    return carry_out


def _plan(arguments: argparse.Namespace) -> int:
    """The tests say which stages are needed, so that it is pytest's `--plan`, without its frame."""
    given = {"--profile": arguments.profile, "--provision": arguments.provision}
    words = [f"{name}={value}" for name, value in given.items() if value is not None]
    # Its warnings: that plugins were imported before, and have no asserts that are rewritten.
    quiet = ["-qq", "--no-header", "--disable-warnings"]
    return int(pytest.main(["--plan", *quiet, "-m", arguments.mark, *words, *arguments.tests]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
