"""Guest hooks, found and run as kata's agent does.

Kata's rules, kept here: below guest_hook_path the folders prestart, poststart and poststop; only
regular files with an execute bit count, links and others are passed over without a word; order is
that of the directory; arguments are the file's name and the hook's type; the environment is empty;
the OCI state is on standard input; a hook that fails is logged and nothing else happens; anything
on a hook's standard error is logged as "exec failed", whatever its status.
"""

import json
import os
import stat
import subprocess
from typing import Any

from .log import log

TIMEOUT = 60  # seconds; the virtCCA patch raised kata's 10 to this


def find(folder: str, kind: str) -> list[str]:
    """The hooks of one type below guest_hook_path; none if there is no such folder."""
    found = []
    try:
        entries = list(os.scandir(os.path.join(folder, kind)))
    except OSError as error:
        log("WARN", f"no {kind} hooks in {folder!r}: {error.strerror}", "hooks")
        return []
    for entry in entries:
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISREG(mode) and mode & 0o111:
            log("INFO", f"found {kind} hook {described(entry.path, kind)} mode {mode:o}", "hooks")
            found.append(entry.path)
    return found


def described(path: str, kind: str) -> str:
    """A hook as kata's agent logs it: the struct in Rust's Debug form (kata-containers #10672)."""
    arguments = f'"{os.path.basename(path)}", "{kind}"'
    return f'Hook {{ path: "{path}", args: Some([{arguments}]), env: None, timeout: None }}'


def run_all(folder: str, kind: str, state: dict[str, Any]) -> None:
    """Run every hook of one type, one after the other."""
    if folder:
        for path in find(folder, kind):
            run(path, kind, state)


def run(path: str, kind: str, state: dict[str, Any]) -> int | None:
    """Run one hook; returns its status, negative for a signal, None if it could not be run."""
    try:
        done = subprocess.run(
            [os.path.basename(path), kind],
            executable=path,
            input=json.dumps(state).encode(),
            capture_output=True,
            env={},
            cwd="/",
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        log("ERRO", f"hook {path} exec failed: no end after {TIMEOUT} s, killed", "hooks")
        _say(path, error.stderr or b"", error.stdout or b"")
        return None
    except OSError as error:
        log("ERRO", f"hook {path} exec failed: {error}", "hooks")
        return None
    _say(path, done.stderr, done.stdout)
    kind_of_end = "Signaled" if done.returncode < 0 else "Exited"
    hook = described(path, kind)
    log("INFO", f"exit status of hook {hook} : {kind_of_end}({abs(done.returncode)})", "hooks")
    if done.returncode:
        log("WARN", f"hook {hook} exit status with {done.returncode}", "hooks")
    return done.returncode


def _say(path: str, stderr: bytes, stdout: bytes) -> None:
    if stderr:
        log("ERRO", f"hook {path} exec failed: {stderr.decode(errors='replace')}", "hooks")
    if stdout:
        log("INFO", f"hook {path} exec stdout: {stdout.decode(errors='replace')}", "hooks")
