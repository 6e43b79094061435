"""Mutate bytes: flip, cut, repeat, splice, and put in what readers stumble over."""

import random
from collections.abc import Sequence

TOKENS = (
    *(b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\n", b"\r", b"\r\n", b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf"),
    *(b"null", b"NaN", b"1e999", b"-1", b"0", b"true", b'"\\ud800"', b"[" * 3000, b"{" * 3000, b'"\n' * 500, b"9" * 5000),
    *(b"'", b"<", b">", b"&", b"<script>", b"```", b"|", b"#", b"* ", b"**", b"\xe2\x80\xa8", b"\x1f\x8b", b"PAR1", b"../"),
)  # fmt: skip


def mutate(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Between one and six random changes."""
    value = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randint(0, len(value))
        end = min(len(value), at + int(rng.paretovariate(0.6)))
        match rng.randrange(7):
            case 0 if value:
                value[at % len(value)] ^= 1 << rng.randrange(8)
            case 1:
                del value[at:end]
            case 2:
                value[at:at] = rng.choice(TOKENS)
            case 3:
                value[at:end] = rng.choice(TOKENS)
            case 4:
                value[at:at] = value[at:end] * rng.randint(1, 50)
            case 5:
                other = rng.choice(others)
                start = rng.randint(0, len(other))
                value[at:end] = other[start : start + end - at]
            case 6:
                del value[at:]
    return bytes(value[:200_000])
