"""Guest hooks, found and run as kata's agent does (its sandbox.rs and kata-sys-util's hooks.rs).

Kata's rules, kept here: below guest_hook_path the folders prestart, poststart and poststop, of
which a missing one is nothing to speak of; only regular files with an execute bit count, links and
others are passed over without a word; order is that of the directory; arguments are the file's name
and the hook's type; the environment is empty; the OCI state is on standard input; a hook that
fails, or does not end in time, is logged and nothing else happens: it runs on, and the next one
begins; anything on a hook's standard error is logged as "exec failed", whatever its status.
"""

import json
import os
import stat
import subprocess
from typing import Any, NamedTuple

from .log import log


class Settings(NamedTuple):
    """guest_hook_path, empty without one; seconds for each hook; whether kata is not CC-0.8.0."""

    path: str
    timeout: float
    newer: bool


class HookError(Exception):
    """A hook did not end well; the text is kata's."""


def run_all(settings: Settings, kind: str, state: dict[str, Any]) -> None:
    """Run every hook of one type, one after the other."""
    for path in find(settings, kind):
        try:
            _run(path, kind, settings, state)
        except HookError as error:
            log("ERRO", f"hook {path} failed: {error}", "hooks")
        else:
            log("INFO", f"hook {path} finished", "hooks")


def find(settings: Settings, kind: str) -> list[str]:
    """The hooks of one type; none if there is no such folder."""
    folder = os.path.join(settings.path, kind)
    found = []
    for entry in os.scandir(folder) if settings.path and os.path.isdir(folder) else ():
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISREG(mode) and mode & 0o111:
            hook = described(entry.path, kind, settings)
            log("INFO", f"found {kind} hook {hook} mode {mode:o}", "hooks")
            found.append(entry.path)
    return found


def described(path: str, kind: str, settings: Settings) -> str:
    """A hook as the agent logs it: the struct in Rust's Debug form, whose fields changed once."""
    args = f'["{os.path.basename(path)}", "{kind}"]'
    args, env = (f"Some({args})", "None") if settings.newer else (args, "[]")
    return f'Hook {{ path: "{path}", args: {args}, env: {env}, timeout: None }}'


def _run(path: str, kind: str, settings: Settings, state: dict[str, Any]) -> None:
    hook = described(path, kind, settings)
    log("INFO", f"execute hook {hook}", "hooks")
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(
            [os.path.basename(path), kind],
            executable=path,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env={},
            cwd="/",
        )
    except OSError as error:
        why = f"{error.strerror} (os error {error.errno})"
        raise HookError(f"failed to create subprocess for hook {hook}: {why}") from error
    try:
        out, err = process.communicate(json.dumps(state).encode(), settings.timeout)
    except subprocess.TimeoutExpired as error:
        raise HookError("timeout") from error
    if err:
        log("ERRO", f"hook {path} exec failed: {err.decode(errors='replace')}", "hooks")
    if out:
        log("INFO", f"hook {path} exec stdout: {out.decode(errors='replace')}", "hooks")
    status = process.returncode
    ended = f"Signaled({-status})" if status < 0 else f"Exited({status})"
    log("INFO", f"exit status of hook {hook} : {ended}", "hooks")
    if status < 0:
        log("ERRO", f"no exit code for hook {hook}: {ended}", "hooks")
        raise HookError(f"no exit code for hook {hook}: {ended}")
    if status:
        log("WARN", f"hook {hook} exit status with {status}", "hooks")
        raise HookError(f"hook {hook} exit status with {status}")
    log("INFO", f"hook {hook} succeeds", "hooks")
