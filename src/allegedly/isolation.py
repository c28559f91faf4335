"""A function's name and bytes in, what it makes of them out: computed in a process of bounded time and memory.

    call("allegedly.reading:html_text", "page.html", data)

Libraries that parse pages and documents can be led into endless work by a few kilobytes. Here the worst that comes of
it is the death of the helper, which is said in one line; the next call starts another. One helper serves many calls.
"""

import atexit
import contextlib
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from threading import Lock

from allegedly.errors import InputError

SECONDS = 60  # of the CPU, for one call
MEMORY = 768_000_000  # bytes of address space, Python and its libraries included

_lock = Lock()
_helper: "_Helper | None" = None


class Exhausted(Exception):
    """A call took more than SECONDS or MEMORY, or ended its process; the message says which."""


class _Helper(subprocess.Popen):
    """A process that runs `serve`."""

    def __init__(self) -> None:
        self.owner = os.getpid()  # a fork of this process must not write into the same pipe
        self.calls = 0
        places = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        super().__init__(
            [sys.executable, "-P", "-m", "allegedly.isolation"],  # -P: imports nothing from where the articles lie
            env=os.environ | {"PYTHONPATH": os.pathsep.join(places)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def ask(self, header: dict, data: bytes) -> bytes:
        """The line that it answers; an empty or broken one if it dies."""
        self.calls += 1
        with contextlib.suppress(BrokenPipeError):
            self.stdin.write(json.dumps(header).encode() + b"\n")
            self.stdin.write(data)
            self.stdin.flush()
        return self.stdout.readline()


def call(function: str, file: str, data: bytes) -> str:
    """Return ``function(file, data)``, which is named ``module:function`` and gives text.

    An InputError that it raises is raised here. Raises Exhausted where it comes to no end.
    """
    global _helper
    header = {"function": function, "file": file, "size": len(data), "seconds": SECONDS, "memory": MEMORY}
    with _lock:
        while True:
            if _helper is None or _helper.owner != os.getpid():
                _helper = _Helper()
            try:
                line = _helper.ask(header, data)
            except BaseException:  # Ctrl-C: the answer would be taken for that to the next call
                stop()
                raise
            if not line.endswith(b"\n"):
                died_of = stop()
                out_of_time = died_of == -signal.SIGXCPU
                raise Exhausted(f"takes over {SECONDS} s" if out_of_time else "crashes the library that does")
            answer = json.loads(line)
            if "memory" not in answer:
                break
            fresh = _helper.calls == 1
            stop()
            if fresh:  # else what earlier calls left may have been what was too much
                raise Exhausted(f"takes over {MEMORY // 1_000_000} MB of memory")
    if "error" in answer:
        raise InputError(answer["error"])
    return answer["text"]


@atexit.register
def stop() -> int | None:
    """End the helper, if there is one; returns its exit status, negative for a signal."""
    global _helper
    helper, _helper = _helper, None
    if helper is None or helper.owner != os.getpid():
        return None
    for pipe in (helper.stdin, helper.stdout):
        with contextlib.suppress(OSError):  # what could not be sent
            pipe.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        return helper.wait(0.2)
    helper.kill()
    return helper.wait()


def serve() -> None:
    """In the helper: answer calls until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of a terminal's processes; the parent tells us
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is not an answer
    while header := sys.stdin.buffer.readline():
        asked = json.loads(header)
        data = sys.stdin.buffer.read(asked["size"])
        if len(data) < asked["size"]:
            return
        answers.write(json.dumps(_answer(asked, data)).encode() + b"\n")
        answers.flush()


def _answer(asked: dict, data: bytes) -> dict[str, str]:
    module, _, name = asked["function"].partition(":")
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + asked["seconds"])
    _limit(resource.RLIMIT_AS, asked["memory"])
    try:
        return {"text": getattr(importlib.import_module(module), name)(asked["file"], data)}
    except InputError as error:
        return {"error": str(error)}
    except MemoryError:
        return {"memory": "too much"}


def _limit(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    with contextlib.suppress(ValueError, OSError):  # macOS does not limit the address space
        resource.setrlimit(what, (most, hard))


if __name__ == "__main__":
    serve()
