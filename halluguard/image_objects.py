"""Take images out of what holds them in memory: data URLs, open files, arrays and tensors."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from halluguard.errors import ImageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_BYTES = 256 * 1024 * 1024
"""Most bytes of an image file; a longer one is refused."""


@runtime_checkable
class ReadableFile(Protocol):
    """A file that is open for reading bytes, such as io.BytesIO or the body of a reply."""

    def read(self, size: int, /) -> bytes: ...


@runtime_checkable
class TensorLike(Protocol):
    """A tensor of torch, which need not be imported here."""

    def detach(self) -> Any: ...

    def is_floating_point(self) -> bool: ...


def read_all(file: ReadableFile) -> bytes:
    """The bytes of an open file from its beginning, or from where it stands if it cannot go back.

    Raises:
        ImageError: it is a file of text, or longer than `MAX_BYTES`.
    """
    seekable, seek = getattr(file, "seekable", None), getattr(file, "seek", None)
    if callable(seekable) and seekable() and callable(seek):
        seek(0)
    data = file.read(MAX_BYTES + 1)
    if not isinstance(data, bytes):
        raise ImageError(f"expected a file of bytes, got {type(data).__name__} from it; open it with mode 'rb'")
    if len(data) > MAX_BYTES:
        raise ImageError(f"expected an image of at most {MAX_BYTES:,} bytes, got a longer file; shrink the image")
    return data


def decode_data_url(address: str) -> bytes:
    """The bytes of a data URL in base64.

    Raises:
        ImageError: it is not in base64.

    >>> decode_data_url("data:image/png;base64,aW1hZ2U=")
    b'image'
    """
    head, comma, body = address.partition(",")
    try:
        if not comma or not head.endswith(";base64"):
            raise ValueError("the part before the comma should end in ;base64")
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"expected a data: URL in base64, got another ({error}); encode the image again") from error


def pixels_of(tensor: TensorLike) -> NDArray[np.uint8]:
    """The uint8 array, channels last, of a tensor as torchvision makes them: (H, W), or (C, H, W) with C 1, 3 or 4.

    Raises:
        ImageError: another shape or type, or values of a floating-point tensor outside [0, 1].
    """
    import numpy as np

    values = tensor.detach().cpu()
    shape = tuple(values.shape)
    if not (len(shape) == 2 or (len(shape) == 3 and shape[0] in (1, 3, 4))):
        raise ImageError(
            f"expected a tensor of shape (H, W) or (C, H, W) with 1, 3 or 4 channels, got {shape}; give one image, "
            "channels first"
        )
    if tensor.is_floating_point():
        array = values.float().numpy()
        if not (np.isfinite(array).all() and array.min(initial=0) >= 0 and array.max(initial=0) <= 1):
            raise ImageError(
                "expected values in [0, 1] in a floating-point tensor, got others; undo the normalisation, or give the "
                "image itself"
            )
        array = (array * 255).round().astype(np.uint8)
    else:
        array = values.numpy()
        if array.dtype != np.uint8:
            raise ImageError(f"expected a uint8 or floating-point tensor, got {array.dtype}; convert it")
    if array.ndim == 3:
        array = array[0] if shape[0] == 1 else array.transpose(1, 2, 0)
    return np.ascontiguousarray(array)
