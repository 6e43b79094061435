"""The memory of an audit is bounded whatever an image holds."""

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
summary = audit(folder / "c.jsonl", folder / "out", detector=Detector(), images=folder)
assert summary["audited"] == 4, summary
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["RGBA", "I;16"])
def test_images_of_the_largest_size_take_less_than_a_gigabyte_and_a_half(mode, tmp_path):
    """Four in a row: two are never decoded at the same time."""
    for i in range(4):
        Image.new(mode, (9990, 9990), i).save(tmp_path / f"{i}.png", compress_level=1)
    rows = [{"image": f"{i}.png", "caption": "There is a dog."} for i in range(4)]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = subprocess.run([sys.executable, "-c", _AUDIT, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1536
