"""Write a finished audit for tools that show images with labels: Label Studio and FiftyOne.

    export_run(Path("audited"), "labelstudio", ImageFolder(Path("photos")), Path("tasks.json"))
    export_run(Path("audited"), "fiftyone", ImageFolder(Path("photos")), Path("labels.json"))

**labelstudio**: one task per caption; boxes, marked words and the corrected caption are predictions that a person
accepts or changes. The labelling interface that shows them is written beside the tasks, as `<name>.config.xml`.
**fiftyone**: the boxes of each image in FiftyOne's own detection format (`fo.types.FiftyOneImageDetectionDataset`),
with claim, verdict, expert and caption as attributes.

Neither package is needed to write the files. Boxes are relative to the size of the upright image, which is read from
the images.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from halluguard._version import __version__
from halluguard.auditing.image_store import ImageFolder
from halluguard.auditing.pipeline import Checked, from_dict
from halluguard.auditing.run_folder import read_parts
from halluguard.errors import ImageError, InputError, SettingsError
from halluguard.images import load_image
from halluguard.io import JsonObject, parsing, write_text
from halluguard.records import XYXY, Box, Verdict
from halluguard.rendering import COLORS

LOCAL_FILES = "/data/local-files/?d="
"""Beginning of the address of a file in Label Studio's local storage; its path follows."""


@dataclass(frozen=True)
class Curated:
    """A checked row with its image.

    Args:
        checked: the row.
        path: its image, relative to the folder of images.
        size: width and height of the upright image.
    """

    checked: Checked
    path: str
    size: tuple[int, int]

    def boxes(self) -> Iterator[tuple[int, Verdict, Box, XYXY]]:
        """(index of the verdict, verdict, box, corners); corners are x1, y1, x2, y2 as shares of the image's size."""
        width, height = self.size
        for index, verdict in enumerate(self.checked.verdicts):
            for box in verdict.evidence:
                if box.xyxy is not None:
                    x1, y1, x2, y2 = (min(max(value, 0.0), 1.0) for value in _divided(box.xyxy, width, height))
                    yield index, verdict, box, (x1, y1, x2, y2)


def _divided(xyxy: XYXY, width: int, height: int) -> XYXY:
    return xyxy[0] / width, xyxy[1] / height, xyxy[2] / width, xyxy[3] / height


def export_run(
    run: Path, to: str, images: ImageFolder, out: Path, *, prefix: str = LOCAL_FILES, overwrite: bool = False
) -> tuple[int, int]:
    """Write a run for another tool; returns the numbers of captions written and of captions without a readable image.

    Args:
        run: folder of a finished run.
        to: "labelstudio" or "fiftyone".
        images: the folder of the images.
        out: JSON file to write.
        prefix: beginning of the address of an image for Label Studio; its path in the folder follows.
        overwrite: True replaces existing files.

    Raises:
        SettingsError: there is no such tool, or a file exists.
        InputError: the folder holds no finished run.
    """
    writers: dict[str, Callable[[Iterator[Curated], Path, str], int]] = {
        "labelstudio": _write_tasks,
        "fiftyone": _write_detections,
    }
    if to not in writers:
        raise SettingsError(f"expected one of {', '.join(writers)}, got {to!r}; choose one with --to")
    if not (run / "summary.json").is_file():
        raise InputError(f"expected a finished run in {str(run)!r}, found no summary.json; run the audit first")
    for target in (out, *([_config_file(out)] if to == "labelstudio" else [])):
        if target.exists() and not overwrite:
            raise SettingsError(f"{str(target)!r} exists; name another file, or use --overwrite")
    missing: list[str] = []
    out.parent.mkdir(parents=True, exist_ok=True)
    with parsing(run, "the rows of a finished run"):
        return writers[to](_curated(run, images, missing), out, prefix), len(missing)


def _curated(run: Path, images: ImageFolder, missing: list[str]) -> Iterator[Curated]:
    """Yield the checked rows with their images; the ids of rows without a readable image are added to `missing`."""
    last: tuple[str, str, tuple[int, int]] | None = None  # captions of one image often follow each other
    for data in read_parts(run):
        if data["code"] != "ok":
            continue
        checked = from_dict(data)
        try:
            if last is None or last[0] != checked.row.image:
                path = images.path(checked.row.image)
                relative = path.relative_to((images.root or path.parent).resolve()).as_posix()
                last = checked.row.image, relative, load_image(path).size
        except ImageError:
            missing.append(checked.row.id)
            continue
        yield Curated(checked, last[1], last[2])


# --- Label Studio ----------------------------------------------------------------------------------------------------


def _config_file(out: Path) -> Path:
    return out.with_suffix(".config.xml")


def labelling_interface() -> str:
    """The XML by which Label Studio shows a task: the image with its boxes, the caption with its marked words."""
    labels = "\n".join(f'    <Label value="{decision}" background="{color}"/>' for decision, color in COLORS.items())
    return f"""<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="box" toName="image">
{labels}
  </RectangleLabels>
  <Text name="caption" value="$caption"/>
  <Labels name="claim" toName="caption">
{labels}
  </Labels>
  <TextArea name="corrected" toName="caption" maxSubmissions="1" editable="true"/>
</View>
"""


def _write_tasks(rows: Iterator[Curated], out: Path, prefix: str) -> int:
    tasks = [_task(row, prefix) for row in rows]
    write_text(out, json.dumps(tasks, ensure_ascii=True, allow_nan=False) + "\n")
    write_text(_config_file(out), labelling_interface())
    return len(tasks)


def _task(row: Curated, prefix: str) -> JsonObject:
    checked = row.checked
    data = {
        "image": prefix + quote(row.path),
        "caption": checked.row.caption,
        "id": checked.row.id,
        "index": checked.row.index,
    }
    result = [*_rectangles(row), *_marked_words(checked), _corrected(checked)]
    return {"data": data, "predictions": [{"model_version": f"halluguard {__version__}", "result": result}]}


def _rectangles(row: Curated) -> Iterator[JsonObject]:
    for number, (index, verdict, box, (x1, y1, x2, y2)) in enumerate(row.boxes()):
        yield {
            "id": f"box-{index}-{number}",
            "type": "rectanglelabels",
            "from_name": "box",
            "to_name": "image",
            "original_width": row.size[0],
            "original_height": row.size[1],
            "image_rotation": 0,
            "score": box.score,
            "meta": {"text": [f"{box.label}: {verdict.reason}" if verdict.reason else box.label]},
            "value": {
                "x": 100 * x1,
                "y": 100 * y1,
                "width": 100 * (x2 - x1),
                "height": 100 * (y2 - y1),
                "rotation": 0,
                "rectanglelabels": [verdict.decision],
            },
        }


def _marked_words(checked: Checked) -> Iterator[JsonObject]:
    for index, verdict in enumerate(checked.verdicts):
        claim = checked.claims[verdict.claim]
        yield {
            "id": f"claim-{index}",
            "type": "labels",
            "from_name": "claim",
            "to_name": "caption",
            "score": verdict.confidence,
            "meta": {"text": [f"{claim.kind}: {verdict.reason}" if verdict.reason else claim.kind]},
            "value": {"start": claim.start, "end": claim.end, "text": claim.phrase, "labels": [verdict.decision]},
        }


def _corrected(checked: Checked) -> JsonObject:
    return {
        "id": "corrected",
        "type": "textarea",
        "from_name": "corrected",
        "to_name": "caption",
        "value": {"text": [checked.corrected]},
    }


# --- FiftyOne --------------------------------------------------------------------------------------------------------


def _write_detections(rows: Iterator[Curated], out: Path, prefix: str) -> int:
    """Write `fo.types.FiftyOneImageDetectionDataset`: path without suffix -> labels; boxes are x, y, width, height."""
    labels: dict[str, list[JsonObject]] = {}
    paths: dict[str, str] = {}
    captions = 0
    for row in rows:
        captions += 1
        key = str(PurePosixPath(row.path).with_suffix(""))
        if paths.setdefault(key, row.path) != row.path:
            raise InputError(
                f"FiftyOne identifies images by names without suffix, and {paths[key]!r} and {row.path!r} share one; "
                "rename one of them"
            )
        detections = labels.setdefault(key, [])
        for _, verdict, box, (x1, y1, x2, y2) in row.boxes():
            claim = row.checked.claims[verdict.claim]
            attributes = {
                "decision": verdict.decision,
                "kind": claim.kind,
                "claim": claim.phrase,
                "expert": verdict.expert,
                "reason": verdict.reason,
                "caption_id": row.checked.row.id,
                "caption": row.checked.row.caption,
                "corrected": row.checked.corrected,
            }
            detections.append(
                {
                    "label": box.label,
                    "bounding_box": [x1, y1, x2 - x1, y2 - y1],
                    "confidence": box.score,
                    "attributes": attributes,
                }
            )
    write_text(out, json.dumps({"classes": None, "labels": labels}, ensure_ascii=True, allow_nan=False) + "\n")
    return captions
