"""Measure the verdicts on written words: drawn signs, screens and documents in many fonts, and photos.

    python benchmarks/written_words.py [--fonts FOLDER ...] [--photos FOLDER]

Each drawn image is read once and held against right quotations (as drawn, and in small letters on one line) and wrong
ones (another text; the same text with one other word). Prints one line of JSON: verdicts by kind of image and
quotation, the precision of "contradicted" with its interval over images, and seconds per image. For photos it prints
the lines that were read, and how often texts that stand in none of them were supported or contradicted.

Fonts are looked for in the folders given, in matplotlib's and in the system's; those without Latin letters are left
out. The published figures used the fonts of the PyPI packages font-amatic-sc, font-caladea, font-fredoka-one,
font-hanken-grotesk, font-manrope, font-roboto, font-source-sans-pro and font-source-serif-pro, and those of Debian's
fonts-dejavu.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from halluguard.correction.verification.written_words import compare
from halluguard.detectors.ocr import WrittenWords

SEED, DRAWS = 0, 2000
SIGNS = (
    *(
        "STOP",
        "NO PARKING",
        "MAIN STREET",
        "Welcome to Oakville",
        "EXIT 24",
        "Fresh Bread Daily",
        "BUS STOP",
        "ONE WAY",
    ),
    *("Platform 9", "SALE", "Joe's Coffee Bar", "Danger High Voltage", "OPEN", "Library", "School Zone 25", "Gate B12"),
)
SCREENS = (
    *("Battery 20% remaining", "Update available", "Sign in with email", "Total: $48.50", "Next train 14:05"),
    *("Wi-Fi connected", "Search results", "Settings and privacy", "Upload failed", "2 new messages"),
)
SENTENCES = (
    *(
        "The meeting begins at nine in the morning.",
        "Please return all books before Friday.",
        "Payment is due in June.",
    ),
    *(
        "Mix the flour with two cups of water.",
        "Visitors must report to the front desk.",
        "Keep out of reach of children.",
    ),
    *("The museum is closed on public holidays.", "Bring a warm coat and good shoes.", "Tickets are sold at the gate."),
)
OTHER_WORDS = ("river", "yellow", "Thursday", "garden", "seventeen", "mountain", "window", "orchestra")
COLOURS = (("white", "black"), ("#b5121b", "white"), ("#0b4ea2", "white"), ("#f6d32d", "black"), ("#1c6b3c", "white"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--fonts", nargs="*", type=Path, default=[], help="folders with more fonts")
    parser.add_argument("--number", type=int, default=40, help="largest number of fonts")
    parser.add_argument(
        "--kinds",
        type=int,
        default=3,
        help="number of kinds of image per font, 1 to 3; with fewer than 3, fonts take turns",
    )
    parser.add_argument("--photos", type=Path, help="folder of photos to read")
    parser.add_argument("--number-of-photos", type=int, help="number of photos to read, from the first on [all]")
    args = parser.parse_args()
    reader = WrittenWords()
    fonts = usable_fonts(args.fonts)[: args.number]
    if fonts:
        figures = drawn(reader, fonts, args.kinds)
        print(json.dumps({"reader": reader.name, "fonts": len(fonts), "seed": SEED, **figures}), flush=True)
    if args.photos:
        print(json.dumps(photos(reader, sorted(args.photos.iterdir())[: args.number_of_photos])))


def usable_fonts(folders: Sequence[Path]) -> list[Path]:
    """Fonts with Latin letters, one file per name, in an order that mixes the families."""
    import matplotlib

    places = [*folders, Path(matplotlib.get_data_path()) / "fonts" / "ttf", Path("/usr/share/fonts")]
    files = {path.stem: path for place in places for end in ("ttf", "otf") for path in sorted(place.rglob(f"*.{end}"))}
    latin = [path for name, path in sorted(files.items()) if _has_latin(path)]
    return random.Random(SEED).sample(latin, len(latin))


def _has_latin(path: Path) -> bool:
    """Whether letters of a font look like letters: they differ, and they are not all one box."""
    try:
        font = ImageFont.truetype(str(path), 40)
        masks = {bytes(font.getmask(letter)) for letter in "AGQagq5"}
    except OSError:
        return False
    symbols = any(word in path.name.lower() for word in ("symbol", "siz", "nonuni", "cmex", "cmsy", "cmmi", "awesome"))
    return len(masks) == 7 and not symbols and "LastResort" not in path.name


def drawn(reader: WrittenWords, fonts: Sequence[Path], kinds: int) -> dict[str, object]:
    """The figures on drawn images, `kinds` per font."""
    rng = random.Random(SEED)
    counts: dict[str, Counter[str]] = {}
    per_image: list[tuple[int, int]] = []
    seconds = []
    for n, font in enumerate(fonts):
        of_font = list(images(font, rng))
        for kind, image, text in (of_font[(n + k) % 3] for k in range(kinds)):
            began = time.perf_counter()
            (lines,) = reader.read([image])
            seconds.append(time.perf_counter() - began)
            right, contradicted = 0, 0
            for quotation, is_right, claimed in quotations(kind, text, rng):
                decision = compare(claimed, lines).decision
                counts.setdefault(f"{kind}, {quotation}", Counter())[decision] += 1
                contradicted += decision == "contradicted"
                right += decision == "contradicted" and not is_right
            per_image.append((right, contradicted))
    pairs = np.array(per_image)
    draws = np.random.default_rng(SEED).integers(len(pairs), size=(DRAWS, len(pairs)))
    sums = pairs[draws].sum(1)
    low, high = np.quantile(sums[:, 0] / np.maximum(sums[:, 1], 1), [0.025, 0.975])
    return {
        "images": len(pairs),
        "verdicts": {name: dict(sorted(of.items())) for name, of in sorted(counts.items())},
        "contradicted": int(pairs[:, 1].sum()),
        "precision of contradicted": round(float(pairs[:, 0].sum() / max(1, pairs[:, 1].sum())), 4),
        "interval": [round(float(low), 4), round(float(high), 4)],
        "seconds per image": round(float(np.mean(seconds)), 2),
    }


def images(path: Path, rng: random.Random) -> Iterator[tuple[str, Image.Image, list[str]]]:
    """(kind, image, lines of text) of a sign, a screen and a document in one font."""
    board, ink = rng.choice(COLOURS)
    words = rng.choice(SIGNS).split()
    lines = [" ".join(words)] if len(words) < 3 else [" ".join(words[:2]), " ".join(words[2:])]
    yield "sign", _page((480, 320), "#9db4c0", board, ink, lines, path, 54, (60, 80, 420, 240)), lines
    lines = rng.sample(SCREENS, 3)
    yield "screen", _page((480, 320), "#333333", "#10141a", "#e8eaed", lines, path, 26, (30, 30, 450, 290)), lines
    lines = rng.sample(SENTENCES, 4)
    yield "document", _page((560, 400), "#6b4f3a", "#fbfaf5", "#222222", lines, path, 20, (40, 30, 520, 370)), lines


def _page(
    size: tuple[int, int],
    ground: str,
    board: str,
    ink: str,
    lines: Sequence[str],
    path: Path,
    points: int,
    box: tuple[int, int, int, int],
) -> Image.Image:
    image = Image.new("RGB", size, ground)
    draw = ImageDraw.Draw(image)
    draw.rectangle(box, fill=board)
    width, height = box[2] - box[0] - 30, (box[3] - box[1] - 20) / len(lines)
    while points > 10 and max(draw.textlength(line, ImageFont.truetype(str(path), points)) for line in lines) > width:
        points -= 1
    font = ImageFont.truetype(str(path), points)
    for i, line in enumerate(lines):
        draw.text((box[0] + 15, box[1] + 10 + height * (i + 0.5)), line, fill=ink, font=font, anchor="lm")
    return image


def quotations(kind: str, lines: Sequence[str], rng: random.Random) -> Iterator[tuple[str, bool, str]]:
    """(name, whether it is right, claimed text) of each quotation that an image is held against."""
    whole = " ".join(lines) if kind == "sign" else rng.choice(lines)
    yield "right as drawn", True, whole
    yield "right in small letters", True, whole.lower()
    pool = {"sign": SIGNS, "screen": SCREENS, "document": SENTENCES}[kind]
    yield "another text", False, rng.choice([text for text in pool if text not in (*lines, whole)])
    words = whole.split()
    words[rng.randrange(len(words))] = rng.choice(OTHER_WORDS)
    yield "one other word", False, " ".join(words)


def photos(reader: WrittenWords, paths: Sequence[Path]) -> dict[str, object]:
    """The words read in photos, and the verdicts on texts that stand in none of them."""
    rng = random.Random(SEED)
    seconds, read, counts = [], {}, Counter[str]()
    for path in paths:
        began = time.perf_counter()
        (lines,) = reader.read([path])
        seconds.append(time.perf_counter() - began)
        if lines:
            read[path.name] = [f"{line.label} ({line.score:.2f})" for line in lines]
        for claimed in rng.sample([*SIGNS, *SCREENS], 5):
            counts[compare(claimed, lines).decision] += 1
    return {
        "photos": len(paths),
        "with text": len(read),
        "read": read,
        "texts that are not there": dict(sorted(counts.items())),
        "seconds per image": round(float(np.mean(seconds)), 2),
    }


if __name__ == "__main__":
    main()
