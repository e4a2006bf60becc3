"""Streams of a process, from end to end: the host's relay, and the agent's."""

import os
import socket
import sys

from vlab.standins.kata.agent.streams import Streams, relay
from vlab.standins.kata.runtime.relay import Relay
from vlab.standins.kata.wire import Channel, Kind


def agent(guest: socket.socket, argv: list[str]) -> None:
    """Run the process, with pipes for its streams, until its status is sent."""
    (stdin, given), (said, stdout), (told, stderr) = (os.pipe() for _ in range(3))
    ends = (stdin, stdout, stderr)
    pid = os.fork()
    if pid == 0:
        for number, end in enumerate(ends):
            os.dup2(end, number)
        os.execvp(argv[0], argv)
    for end in (*ends, 0, 1, 2):
        os.close(end)
    channel = Channel(guest)
    status = relay(channel, Streams(given, {said: Kind.STDOUT, told: Kind.STDERR}, None), pid)
    channel.send(Kind.EXIT, str(status).encode())
    channel.drain(5)
    os._exit(0)


if __name__ == "__main__":
    host, guest = socket.socketpair()
    if os.fork() == 0:
        host.close()
        agent(guest, sys.argv[1:])
    guest.close()
    os._exit(Relay(Channel(host), tty=False).run())
