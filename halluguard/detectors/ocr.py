"""Read the words that are written in an image, with RapidOCR (extra `ocr`), whose wheel ships its trained weights.

RapidOCR 3.10 (Apache-2.0) runs PaddleOCR's PP-OCRv6 on onnxruntime: lines are found, turned upright and read. Nothing
is loaded from the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from halluguard.detectors.failures import expert_errors
from halluguard.errors import SettingsError, require
from halluguard.images import ImageSource, limit_size, load_image
from halluguard.records import Box

_MODELS = {"Det": "*_det_*.onnx", "Cls": "*_cls_*.onnx", "Rec": "*_rec_*.onnx"}
_SMALLEST = 32
"""Pixels of the shorter side below which nothing can be read."""


class WrittenWords:
    """Reads the written words of an image.

    Args:
        least: score in [0, 1] below which a line counts as not legible and is left out.
        threads: threads of onnxruntime, at least 1.
        name: name in verdicts.

    Raises:
        MissingExtraError: the extra `ocr` is not installed.
    """

    needs_image = True

    def __init__(self, *, least: float = 0.5, threads: int = 1, name: str = "") -> None:
        if not 0.0 <= least <= 1.0 or threads < 1:
            raise SettingsError(
                f"least must be in [0, 1] and threads at least 1, got {least} and {threads}; "
                "leave them out for the defaults"
            )
        rapidocr = require("rapidocr", extra="ocr", feature="reading written words")
        require("onnxruntime", extra="ocr", feature="reading written words")
        self.least = least
        folder = Path(str(rapidocr.__file__)).parent / "models"
        shipped = {part: str(file) for part, pattern in _MODELS.items() for file in sorted(folder.glob(pattern))[:1]}
        self.name = name or f"rapidocr:{Path(shipped.get('Rec', 'unknown')).stem}"
        settings: dict[str, object] = {
            "Global.log_level": "critical",
            "Global.text_score": least,
            "EngineConfig.onnxruntime.intra_op_num_threads": threads,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            **{f"{part}.model_path": file for part, file in shipped.items()},
        }
        with expert_errors(self.name, " to start"):
            self._read = rapidocr.RapidOCR(params=settings)

    def read(self, images: Sequence[ImageSource]) -> list[list[Box]]:
        """The lines of each image, from top to bottom, as boxes labelled with their text.

        Raises:
            ImageError: an image cannot be opened.
            ExpertError: the engine failed.
        """
        return [self._lines(source) for source in images]

    def _lines(self, source: ImageSource) -> list[Box]:
        image = load_image(source)
        if min(image.size) < _SMALLEST:
            return []
        shown, factor = limit_size(image)
        pixels = np.asarray(shown)[:, :, ::-1]  # it takes BGR, as OpenCV does
        with expert_errors(self.name):
            result = self._read(np.ascontiguousarray(pixels))
        if result.boxes is None or result.txts is None or result.scores is None:
            return []
        lines = []
        for corners, text, score in zip(result.boxes, result.txts, result.scores, strict=True):
            x1, y1 = np.clip(factor * np.min(corners, axis=0), 0, image.size).tolist()
            x2, y2 = np.clip(factor * np.max(corners, axis=0), 0, image.size).tolist()
            if text.strip() and x2 > x1 and y2 > y1:
                lines.append(Box(text.strip(), min(1.0, float(score)), (x1, y1, x2, y2)))
        return sorted(lines, key=_place)


def _place(line: Box) -> tuple[float, float]:
    x1, y1, *_ = line.xyxy or (0.0, 0.0, 0.0, 0.0)
    return y1, x1
