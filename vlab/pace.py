"""How fast emulated work goes on this computer, as the boot of a lab on it has shown.

A boot is such work itself: a kernel and many programs on all of the lab's processors, beside
whatever else the computer does. So it is its own measure, costs nothing, and is noted for every lab
(``ssh_after``), also for one that stays up. Load that comes later is not in it: that is what
the time limits have room for, in profiles/vlab.toml 5 times what is usual and more.
"""

from vlab.registry import Machine

# Seconds until ssh answers on the computer that the time limits are from: 2 cores of an Intel Xeon,
# quiet, no KVM (docs/performance.md, "boot of the lab"). To be measured anew when a boot takes
# another time.
USUAL = 21.0


def of(machine: Machine) -> float:
    """How many times longer than usual things take in this lab; 1 where they do not."""
    return max(1.0, round(machine.ssh_after / USUAL, 1))
