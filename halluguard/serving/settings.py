"""Define the settings of the server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from halluguard.errors import SettingsError
from halluguard.records import Deleting

OnFailure = Literal["open", "closed"]


@dataclass(frozen=True)
class ServerSettings:
    """Settings for reading, checking and bounding requests.

    Args:
        on_failure: treatment of an answer that could not be checked: "open" lets it pass and notes this in its field
            `halluguard`, "closed" ends the request with an error.
        style: treatment of a sentence that cannot be corrected without losing something true: "delete" flags it,
            "drop" deletes it. An answer of a `Guard` is corrected in the guard's own style.
        timeout: most seconds for the answer of the model, from the first byte to the last.
        check_timeout: most seconds for the check of an answer, or of one sentence of a stream.
        read_timeout: most seconds for a client to send its request.
        max_body: largest request, in bytes.
        max_images: most images in one request.
        max_pixels: most pixels of all images of one request together.
        max_held_pixels: most pixels of the images of all requests that are processed; further requests with images
            wait as long as `read_timeout`, then they are refused with status 503.
        max_held_body: most bytes of the bodies of all requests that are read or processed; others are refused with
            status 503.
        running: number of requests that are processed at the same time.
        waiting: number of further requests that may wait; others are refused with status 503.
        detector_batch: images per call of the detector; checks that arrive together share one call.
        fetch: True to fetch images from http and https addresses. Private addresses are always refused.
        images: folder of images that requests may name by file:// URLs; None allows none.
    """

    on_failure: OnFailure = "open"
    style: Deleting = "delete"
    timeout: float = 300.0
    check_timeout: float = 60.0
    read_timeout: float = 30.0
    max_body: int = 32 * 1024 * 1024
    max_images: int = 16
    max_pixels: int = 50_000_000
    max_held_pixels: int = 50_000_000
    max_held_body: int = 256 * 1024 * 1024
    running: int = 32
    waiting: int = 256
    detector_batch: int = 16
    fetch: bool = False
    images: Path | None = None

    def __post_init__(self) -> None:
        if self.on_failure not in get_args(OnFailure):
            raise SettingsError(f"on_failure must be 'open' or 'closed', got {self.on_failure!r}; choose one")
        if self.style not in get_args(Deleting):
            raise SettingsError(f"style must be 'delete' or 'drop', got {self.style!r}; choose one")
        for name in ("timeout", "check_timeout", "read_timeout", "max_body", "max_images", "max_pixels", "running"):
            if not 0 < getattr(self, name) < float("inf"):
                raise SettingsError(f"{name} must be a number above 0, got {getattr(self, name)}; raise it")
        if self.max_held_pixels < self.max_pixels or self.max_held_body < self.max_body:
            raise SettingsError(
                "max_held_pixels and max_held_body hold for all requests together, and must be at least max_pixels "
                f"and max_body, got {self.max_held_pixels:,} and {self.max_held_body:,}; raise them"
            )
        if self.waiting < 0 or self.detector_batch < 1:
            raise SettingsError("waiting must be at least 0 and detector_batch at least 1; raise them")
        if self.images is not None and not self.images.is_dir():
            raise SettingsError(f"images must be an existing folder, got {str(self.images)!r}; check the path")
