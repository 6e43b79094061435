"""Bound the memory of all requests together: bytes of their bodies, and pixels of their images.

`ServerSettings` bounds each request, but many requests at once could still fill the memory. So a request takes a share
of a common limit before it reads or decodes, and returns the share when it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator

from halluguard.serving.errors import busy


class HeldPixels:
    """Limit the pixels of the images that all requests hold; a request waits until there is room for its images.

    Args:
        most: most pixels that may be held at the same time.
        patience: most seconds that a request waits.
    """

    def __init__(self, most: int, patience: float) -> None:
        self._free, self._patience = most, patience
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()

    @contextlib.asynccontextmanager
    async def room(self, pixels: int) -> AsyncIterator[None]:
        """Hold room for the images of one request.

        Args:
            pixels: number of their pixels, at most `most`.

        Raises:
            ApiError: no room became free in time.
        """
        await self._take(pixels)
        try:
            yield
        finally:
            self._free += pixels
            self._let_in()

    async def _take(self, pixels: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append((pixels, turn))
        self._let_in()
        try:
            async with asyncio.timeout(self._patience):
                await asyncio.shield(turn)
        except BaseException as error:
            if turn.done():  # it got room at the moment when it gave up
                self._free += pixels
            else:
                turn.cancel()
            self._let_in()
            if isinstance(error, TimeoutError):
                raise busy(
                    "the images of other requests fill the memory of the server; try again in a second"
                ) from None
            raise

    def _let_in(self) -> None:
        while self._line and (self._line[0][1].cancelled() or self._line[0][0] <= self._free):
            pixels, turn = self._line.popleft()
            if not turn.cancelled():
                self._free -= pixels
                turn.set_result(None)


class HeldBytes:
    """Limit the bytes of the bodies of all requests that are read or processed; further requests are refused.

    Args:
        most: most bytes that may be held at the same time.
    """

    def __init__(self, most: int) -> None:
        self._free = most

    @contextlib.contextmanager
    def body(self) -> Iterator[Callable[[int], None]]:
        """Hold bytes for one request; yields a function that takes the number of further bytes.

        Raises:
            ApiError: raised by that function if there is no room.
        """
        held = 0

        def add(number: int) -> None:
            nonlocal held
            if number > self._free:
                raise busy("other requests fill the memory of the server; try again in a second")
            self._free -= number
            held += number

        try:
            yield add
        finally:
            self._free += held
