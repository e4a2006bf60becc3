"""The host's end of a terminal: a pseudo-terminal whose master the shim gets."""

import fcntl
import os
import socket
import termios


def give(console_socket: str) -> int:
    """Open a pseudo-terminal and send its master to the shim's socket; returns the slave.

    The slave is raw: it is the terminal in the guest that echoes and edits.
    """
    master, slave = os.openpty()
    name = os.ttyname(slave)
    _make_raw(slave)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(console_socket)
        socket.send_fds(sock, [name.encode()], [master])
    os.close(master)
    return slave


def adopt(slave: int) -> None:
    """Make the slave this process's standard streams and controlling terminal (for SIGWINCH)."""
    for number in (0, 1, 2):
        os.dup2(slave, number)
    if slave > 2:
        os.close(slave)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def size(terminal: int) -> tuple[int, int]:
    """Rows and columns."""
    rows, columns = os.get_terminal_size(terminal).lines, os.get_terminal_size(terminal).columns
    return rows, columns


def _make_raw(terminal: int) -> None:
    mode = termios.tcgetattr(terminal)
    mode[0] &= ~(termios.BRKINT | termios.ICRNL | termios.INPCK | termios.ISTRIP | termios.IXON)
    mode[1] &= ~termios.OPOST
    mode[2] = mode[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    mode[3] &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN | termios.ISIG)
    termios.tcsetattr(terminal, termios.TCSANOW, mode)
