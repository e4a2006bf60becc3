"""`python -m harness prefetch`: a folder with all that a run takes from outside."""

from __future__ import annotations

from pathlib import Path

from harness import exits
from harness.errors import BadUsage
from harness.plugin.session import Session
from harness.run import carried
from harness.run.assets import AssetError
from harness.run.pinning import pin


def run(session: Session) -> int:
    """Fill the folder of the command line; the exit status. No host is asked for anything.

    Raises BadUsage where something cannot be had, is not what is expected, or finds no room.
    """
    folder = Path(session.options.folder).expanduser().absolute()
    lock = session.options.pin
    try:
        files = dict(carried.named(session.profile)) if lock is None else _pinned(session, folder)
        if not files:
            where = f"Asset lock '{lock}'" if lock else f"Profile '{session.profile.name}'"
            raise BadUsage(f"{where} names no asset: there is nothing to be fetched.")
        carried.fill(files, folder, session.say)
    except AssetError as error:
        raise BadUsage(error.message, hint=error.hint) from error
    except OSError as error:
        raise BadUsage(f"'{folder}' cannot be filled: {error}.") from error
    session.say(f"whole: {folder}; carry it along, and run with --offline={folder}")
    return exits.PASSED


def _pinned(session: Session, folder: Path) -> dict[str, carried.AssetFile]:
    return pin(Path(session.options.pin).expanduser(), folder, session.say)
