"""The memory of a command is bounded whatever an image holds."""

import json
import subprocess
import sys

import pytest
from PIL import Image

_AUDIT = """
import resource, sys
from pathlib import Path
from halluguard import Box
from halluguard.auditing import audit

class Detector:
    name, needs_image, thresholds = "sees", True, (0.5, 0.3)
    def covers(self, phrase):
        return True
    def detect(self, images, phrases):
        return [[] for _ in images]

folder = Path(sys.argv[1])
summary = audit(folder / "c.jsonl", folder / "out", detector=Detector(), images=folder, report=True)
assert summary["audited"] == 4, summary
assert summary["skipped"] == {"image": 1}, summary
assert (folder / "out" / "report.html").is_file()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["RGBA", "I;16"])
def test_images_of_the_largest_size_take_less_than_a_gigabyte_and_a_half(mode, tmp_path):
    """Four in a row with an unreadable one between: two are never held at the same time, also not for the report."""
    for i in range(4):
        Image.new(mode, (9990, 9990), i).save(tmp_path / f"{i}.png", compress_level=1)
    (tmp_path / "bad.png").write_bytes(b"no image")
    rows = [{"image": f"{i}.png", "caption": "There is a dog."} for i in (0, 1, 2, "bad", 3)]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = subprocess.run([sys.executable, "-c", _AUDIT, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1536


_CAPTION = """
import resource, sys
from pathlib import Path
from halluguard.auditing.captioning import caption_folder
from halluguard import Guard, sandbox

folder = Path(sys.argv[1])
guard = Guard.from_pretrained(sandbox.MLLM)
ask = lambda images: [answer.text for answer in guard.batch(images, "What is this?", max_new_tokens=3)]
assert caption_folder(folder, folder / "captions.jsonl", ask, batch_size=4).captioned == 4
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"format": "JPEG"}, {"format": "JPEG", "progressive": True}, {"format": "PNG"}])
def test_captions_of_the_largest_images_take_less_than_a_gigabyte_and_a_half(settings, tmp_path):
    for i in range(4):
        Image.new("RGB", (9990, 9990), (i, 9, 200)).save(tmp_path / f"{i}.{settings['format'].lower()}", **settings)
    done = subprocess.run([sys.executable, "-c", _CAPTION, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1536
