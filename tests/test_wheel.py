"""The wheel and the source distribution hold the product, and the wheel alone runs it.

Every other test imports the source tree, in which nothing can be missing. These build both distributions from the
tracked files, compare them with what is tracked, unpack the wheel into a folder of its own, and run the demo and the
README's blocks from an empty folder.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def tracked(*paths):
    try:
        listed = subprocess.run(["git", "ls-files", "-z", *paths], cwd=ROOT, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs a git checkout: the distributions are compared with the tracked files")
    return {name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """The folder with the wheel and the source distribution, built from a copy of the tracked files."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return built


@pytest.fixture(scope="module")
def installed(distributions, tmp_path_factory):
    """Run code against the unpacked wheel, in an empty folder, with nothing else of ours on the path."""
    site, empty = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("empty")
    with zipfile.ZipFile(next(distributions.glob("*.whl"))) as wheel:
        wheel.extractall(site)

    def run(*arguments):
        environment = {**os.environ, "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
        return subprocess.run(
            [sys.executable, *arguments], cwd=empty, capture_output=True, text=True, env=environment, timeout=600
        )

    where = run("-c", "import halluguard; print(halluguard.__file__)")
    assert where.stdout.startswith(str(site)), where.stdout + where.stderr
    return run


def test_the_wheel_holds_every_tracked_file_of_the_package_and_no_other(distributions):
    with zipfile.ZipFile(next(distributions.glob("*.whl"))) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == tracked("halluguard")


def test_the_source_distribution_holds_every_tracked_file(distributions):
    with tarfile.open(next(distributions.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert tracked() - {".gitignore"} <= names


def test_the_demo_runs_from_the_wheel_in_an_empty_folder(installed):
    done = installed("-m", "halluguard", "demo", "--scenes", "10", "--out", "demo")
    assert done.returncode == 0, done.stderr
    assert "all three" in done.stdout


def test_the_blocks_of_the_readme_run_from_the_wheel(installed):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    done = installed("-c", "\n".join(blocks))
    assert done.returncode == 0, done.stderr
