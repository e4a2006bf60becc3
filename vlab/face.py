"""The public interface of the virtual lab, by ``import vlab``; everything else is private.

``lease`` is for a program that wants a lab for a while, ``up`` and ``down`` are for one that is to
stay. Every failure is a ``VlabError``, whose text is for people: what is wrong and what helps.
``say`` is called with each line of progress, as ``print`` would be; without it nothing is said.
``who`` names the user of a lab to others who want it. Memory is in MiB.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from enum import Enum
from pathlib import Path

from vlab import accel, boot, image, machine, pace, preflight, recipe, registry
from vlab.errors import VlabError
from vlab.qemu import Settings
from vlab.registry import InUse, Life, Machine

__all__ = [
    "ACCELERATORS",
    "Ending",
    "InUse",
    "Machine",
    "Settings",
    "VlabError",
    "cleaned",
    "down",
    "find",
    "lease",
    "pace_of",
    "reset",
    "up",
    "use",
    "user_of",
    "why_ended",
]

ACCELERATORS = accel.MODES  # what Settings.accel may be

Say = Callable[[str], None]


class Ending(Enum):
    """The state of a lab after its lease."""

    LEFT = "it was up before, and is left as it is"
    KEPT = "it stays up, with what was changed on it, and is in no later lease"
    ENDED = "it was started for the lease, and has ended; nothing of it is left"


def _silent(_: str) -> None:
    """Say nothing."""


def _unheard(_: Machine, __: Ending) -> None:
    """Tell nobody."""


@contextmanager
def lease(
    settings: Settings,
    *,
    who: str,
    say: Say = _silent,
    name: str = "",
    fresh: bool = False,
    keep: Callable[[], bool] | None = None,
    console: Path | None = None,
    ended: Callable[[Machine, Ending], None] = _unheard,
) -> Iterator[Machine]:
    """A lab for the length of the block, which nobody else uses meanwhile.

    It is one that is up, if one is that has these settings, is of this version, is not in use and
    has nothing on it of a lease that kept it; else one is started, for which an image is built if
    there is none yet (minutes). With ``fresh`` one is started whatever is up. With a ``name`` it
    is the lab of that name or none.

    ``keep`` is asked when the block ends, however it ends, whether the lab is to stay as it then
    is, for a person to look into. A lab that was started here ends otherwise; without ``keep`` the
    kernel also kills it in the moment in which this process dies. ``ended`` is then told what
    became of the lab. What the lab's console says during the block goes to the file ``console``;
    without that it is kept, and said where, if the lab was started here and the block is left by
    an exception.

    Raises VlabError where no lab can be had, or one that was started here does not end; InUse where
    the one of that ``name`` is in use, or has on it what a lease has kept.

    Example::

        with vlab.lease(vlab.Settings(multifunction=True), who="lspci", say=print) as lab:
            subprocess.run([*lab.ssh, "lspci", "-nn"], check=True)
    """
    with ExitStack() as stack:
        lab = None
        if name or not fresh:
            lab = _take(stack, name, settings, who, say)
        if lab is None:
            lab = stack.enter_context(_own(settings, who, say, keep, console, ended))
        else:
            instead = "[vlab] fresh = true: one of its own"
            say(f"vlab: this run uses '{lab.name}', which is up ({instead})")
            stack.enter_context(_borrowed(lab, keep, console, ended))
        yield lab


def up(settings: Settings, *, name: str | None = None, say: Say = _silent) -> Machine:
    """Start a lab that stays until ``down``, whatever becomes of this process.

    The first time an image is built for it, which takes minutes; the start itself takes 20 to 60
    seconds. Without a ``name`` it gets one of its own. Raises VlabError, with the last lines of its
    console, where it does not come up; nothing is left of it then.

    Example::

        lab = vlab.up(vlab.Settings(), name="mine", say=print)
        print(shlex.join(lab.ssh))
    """
    preflight.check(settings)  # before an image is built for it
    lab_image = image.ensure(say, settings.kata)
    return machine.start(lab_image, settings, say, life=Life.FREE, name=name)


def down(lab: Machine, *, force: bool = False) -> bool:
    """End a lab and remove what it had on disk; whether it was still there.

    Raises InUse, and does nothing, where somebody uses it, unless ``force``; VlabError where its
    emulator does not end.

    Example::

        for lab in vlab.find():
            if lab.stays and not vlab.user_of(lab):
                vlab.down(lab)
    """
    with ExitStack() as stack:
        try:  # so that no run takes it while it ends
            stack.enter_context(registry.used(lab, f"'vlab down' (pid {os.getpid()})"))
        except InUse:
            if not force:
                raise
        except (registry.Unreadable, FileNotFoundError):
            return False  # somebody else was faster
        machine.stop(lab)
    return True


def reset(lab: Machine, say: Say = _silent) -> None:
    """Cut a lab's power in the middle of whatever it does, and wait until it is up again.

    Its disk keeps what had been written to it. Raises VlabError where it does not come up.

    Example::

        vlab.reset(lab, print)
        subprocess.run([*lab.ssh, "dmesg"], check=True)
    """
    machine.reset(lab, say)


def find(say: Say = _silent) -> list[Machine]:
    """The labs that are up on this computer, oldest first, those of running leases, too.

    What is left of labs that have died is swept away first; ``say`` is told of each why it died,
    and where its console is. Raises VlabError where the cache's folder cannot be used.

    Example::

        names = [lab.name for lab in vlab.find(print) if lab.stays]
    """
    return machine.find(say)


@contextmanager
def use(lab: Machine, who: str) -> Iterator[Machine]:
    """This very lab for the length of the block, whatever is on it; the lab as it is by now.

    Raises InUse where somebody else uses it, VlabError where it has been taken down.

    Example::

        with vlab.use(lab, "clean-up") as lab:
            subprocess.run([*lab.ssh, "rm", "-rf", "/srv/mine"], check=True)
            vlab.cleaned(lab)
    """
    with ExitStack() as stack:
        try:
            now = stack.enter_context(registry.used(lab, who))
        except FileNotFoundError as error:
            raise VlabError(f"lab '{lab.name}' has been taken down meanwhile") from error
        yield now


def user_of(lab: Machine) -> str | None:
    """Who uses the lab now, as he named himself; None where nobody does.

    Example::

        print(vlab.user_of(lab) or "free")
    """
    return registry.user_of(lab)


def pace_of(lab: Machine) -> float:
    """How many times longer than usual things take in the lab, as its boot has shown; at least 1.

    Example::

        subprocess.run([*lab.ssh, "make"], timeout=60 * vlab.pace_of(lab))
    """
    return pace.of(lab)


def cleaned(lab: Machine) -> None:
    """Mark a kept lab as cleaned up: it can be leased again.

    For one who uses it (see ``use`` for an example).
    """
    registry.update(lab, kept=False)


def why_ended(lab: Machine, patience: float = 0.0) -> str | None:
    """One line that says why a lab has ended or stands still, and where its console is; else None.

    A machine's end can come a moment after that of its connections: ``patience`` seconds are given
    to it.

    Example::

        if done.returncode == 255:  # ssh has lost its connection
            sys.exit(vlab.why_ended(lab, patience=5.0) or done.stderr)
    """
    return boot.why_ended(lab, patience)


def _take(stack: ExitStack, name: str, settings: Settings, who: str, say: Say) -> Machine | None:
    """A lab that stays up and fits, in use until the stack is closed; None where there is none.

    With a ``name`` it is the one of that name; VlabError where it cannot be had, InUse where it is
    in use, or kept.
    """
    for found in machine.find(say):
        if name not in ("", found.name):
            continue
        with ExitStack() as trial:
            try:
                lab = trial.enter_context(registry.used(found, who))
            except InUse:
                if name:
                    raise
                continue
            except (registry.Unreadable, FileNotFoundError):
                continue  # taken down meanwhile
            # As it is now that nobody else can change it: it may have been kept since it was found.
            why = _unfit(lab, settings)
            if why is None:
                stack.push(trial.pop_all())
                return lab
            if name:
                raise why
    if name:
        raise VlabError(
            f"no lab '{name}' is up: 'python -m vlab status' lists those that are, "
            f"'python -m vlab up --name {name}' starts one"
        )
    return None


def _unfit(lab: Machine, settings: Settings) -> VlabError | None:
    """Why a lab that nobody uses cannot be had for a run of these settings."""
    if lab.kept:
        return InUse(f"'{lab.name}' still has on it what a run that kept it has changed")
    if not lab.alive():
        return VlabError(f"lab '{lab.name}' has ended; its console: {lab.console}")
    if not registry.fits(lab, recipe.digest(settings.kata), settings):
        return VlabError(
            f"lab '{lab.name}' is of another version, or has other settings than the profile: see "
            f"'python -m vlab status'; 'python -m vlab down {lab.name}' ends it"
        )
    return None


@contextmanager
def _borrowed(
    lab: Machine,
    keep: Callable[[], bool] | None,
    console: Path | None,
    ended: Callable[[Machine, Ending], None],
) -> Iterator[None]:
    """What goes with the use of a lab that was up before: its console's part, and its ending."""
    said_before = lab.console.stat().st_size
    try:
        yield
    finally:
        if console is not None and lab.console.exists():  # else somebody has taken the lab down
            console.parent.mkdir(parents=True, exist_ok=True)
            with lab.console.open("rb") as source, console.open("wb") as target:
                source.seek(said_before)
                shutil.copyfileobj(source, target)
        ended(lab, Ending.KEPT if _is_kept(lab, keep) else Ending.LEFT)


@contextmanager
def _own(
    settings: Settings,
    who: str,
    say: Say,
    keep: Callable[[], bool] | None,
    console: Path | None,
    ended: Callable[[Machine, Ending], None],
) -> Iterator[Machine]:
    """A lab that is started for the block, and ends with it unless it is kept."""
    preflight.check(settings)
    # One that may be kept must not die with this very process.
    life = Life.BOUND if keep is None else Life.OWNED
    lab_image = image.ensure(say, settings.kata)
    lab = machine.start(lab_image, settings, say, life=life, console=console)
    failed = True
    try:
        with registry.used(lab, who):
            yield lab
        failed = False
    finally:
        if _is_kept(lab, keep):
            ended(lab, Ending.KEPT)
        else:
            machine.stop(lab, say if failed else None)
            ended(lab, Ending.ENDED)


def _is_kept(lab: Machine, keep: Callable[[], bool] | None) -> bool:
    """Whether the lab is to stay with what was changed on it; it is then marked as such."""
    if keep is None or not keep() or not lab.alive():
        return False
    registry.update(lab, owner=None, kept=True)
    return True
