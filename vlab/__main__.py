"""``python -m vlab``: see ``vlab.cli``."""

import sys

try:
    from vlab import cli
except ModuleNotFoundError as error:
    sys.exit(
        f"vlab: this Python ({sys.executable}) has no package '{error.name}': './bootstrap tox "
        "-e acceptance --notest' makes an environment that has it; enter that by "
        "'. .tox/acceptance/bin/activate'"
    )

if __name__ == "__main__":
    cli.end_on_signals()
    sys.exit(cli.main(sys.argv[1:]))
