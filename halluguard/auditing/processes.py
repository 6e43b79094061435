"""Run functions in separate processes, each with its own state, and return the results in order.

A process is a fresh interpreter that talks to this one over its standard streams. It never imports the caller's main
module, so that a script needs no guard, and it inherits no thread, lock or open file. It ends when its parent ends, for
whatever reason, and ignores Ctrl-C, which the parent handles.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import struct
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from typing import Any, BinaryIO, TypeVar

from halluguard.errors import ExpertError, HalluguardError
from halluguard.lean_imports import leave_out_unused

Item = TypeVar("Item")
Result = TypeVar("Result")
Start = Callable[[], None]
"""First call of a process; it must be picklable, such as a `functools.partial` of a module's function."""

_LENGTH = struct.Struct("<Q")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLIS_NUM_THREADS")
_CODE = "from halluguard.auditing.processes import serve; serve()"


def idle() -> None:
    """Prepare nothing: the start of a process that needs no state."""


class Processes:
    """A pool of processes.

    Args:
        starts: one function per process, which prepares it; it is called when the process gets its first work.
        threads: threads of numerical libraries in each process, unless the environment sets their number.
    """

    def __init__(self, starts: Sequence[Start], threads: int = 1) -> None:
        modules = os.pathsep.join(path or os.getcwd() for path in sys.path)
        environment = {**dict.fromkeys(_THREADS, str(threads)), **os.environ, "PYTHONPATH": modules}
        self._workers = [_Worker(start, environment) for start in starts]
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(len(starts), "halluguard-worker")

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield the results of a function in the order of its items, which are read a little ahead.

        Raises:
            ExpertError: a process was killed. Errors of the function itself are raised here.
        """
        pending: deque[Future[Result]] = deque()
        for item in items:
            pending.append(self._threads.submit(self._call, function, item))
            if len(pending) >= 2 * len(self._workers):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    def run(self, function: Callable[[Item], object], items: Iterable[Item]) -> None:
        """Call a function for each item, in any order: a long call holds up no other, as it would in `map`.

        Raises:
            ExpertError: a process was killed. Errors of the function itself are raised here.
        """
        pending: set[Future[object]] = set()
        for item in items:
            pending.add(self._threads.submit(self._call, function, item))
            if len(pending) >= 2 * len(self._workers):
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
        for future in as_completed(pending):
            future.result()

    def _call(self, function: Callable[[Item], Result], item: Item) -> Result:
        worker = self._idle.get()
        try:
            result: Result = worker.call(function, item)
            return result
        finally:
            self._idle.put(worker)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End the processes: at once after an error, else when each has read the end of its input."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.end(now=kind is not None)
        self._threads.shutdown(wait=True)


class _Worker:
    """One process, started at its first call."""

    def __init__(self, start: Start, environment: Mapping[str, str]) -> None:
        self.start, self.environment = start, environment
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, function: Callable[..., Any], *arguments: object) -> Any:
        if self._process is None:
            self._process = self._begun()
            self._ask((self.start, ()))
        return self._ask((function, arguments))

    def _begun(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-P", "-c", _CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self.environment,
            start_new_session=True,  # so that Ctrl-C in a terminal reaches the parent alone
        )

    def _ask(self, question: tuple[Callable[..., Any], tuple[object, ...]]) -> Any:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            _send(process.stdin, pickle.dumps(question))
            good, answer = pickle.loads(_receive(process.stdout))
        except (OSError, ValueError, EOFError) as error:
            raise ExpertError(
                f"a worker process ended with exit status {process.wait()}, as it does when memory runs out; run the "
                "same command again, with fewer --workers if it was memory: what is finished is kept"
            ) from error
        if not good:
            raise answer
        return answer

    def end(self, *, now: bool) -> None:
        process = self._process
        if process is None:
            return
        if now:
            process.kill()
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _send(stream: BinaryIO | Any, data: bytes) -> None:
    stream.write(_LENGTH.pack(len(data)))
    stream.write(data)
    stream.flush()


def _receive(stream: BinaryIO | Any) -> bytes:
    """One message.

    Raises:
        EOFError: the other process has ended.
    """
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    data: bytes = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data


def serve() -> None:
    """Answer calls from standard input until it ends; the main function of a worker process."""
    leave_out_unused()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of libraries must not mix with the answers
    calls: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(calls,), daemon=True).start()
    while True:
        data = calls.get()
        try:
            function, arguments = pickle.loads(data)
            answer = pickle.dumps((True, function(*arguments)))
        except Exception as error:
            answer = pickle.dumps((False, _portable(error)))
        try:
            _send(answers, answer)
        except OSError:
            os._exit(1)  # the parent has ended


def _listen(calls: queue.SimpleQueue[bytes]) -> None:
    """Queue the calls from the parent. When the parent has ended, end this process at once."""
    stream = os.fdopen(0, "rb", closefd=False)
    try:
        while True:
            calls.put(_receive(stream))
    except EOFError:
        os._exit(0)


def _portable(error: Exception) -> Exception:
    """An error that another process can raise; an unexpected error includes its traceback."""
    if not isinstance(error, HalluguardError):
        error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
