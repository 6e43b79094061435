"""No command talks to a host that was not named: each runs with sockets refused, and what it tries is written down."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from halluguard import sandbox

ROOT = Path(__file__).parents[1]

REFUSE = """
import os, socket, traceback

def refuse(name):
    original = getattr(socket.socket, name)
    def refused(self, address, *rest):
        if self.family == socket.AF_UNIX:
            return original(self, address, *rest)
        return tried(address)
    return refused

def tried(*address, **settings):
    with open(os.environ["TRIED"], "a") as file:
        file.write(f"{address} " + " < ".join(f.name for f in traceback.extract_stack()[-8:-1]) + chr(10))
    raise OSError("sockets are refused in this test")

for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse(name))
for name in ("getaddrinfo", "gethostbyname", "create_connection"):
    setattr(socket, name, tried)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four scenes with captions, boxes, labelled rows and preferences, and an audit of them."""
    folder = tmp_path_factory.mktemp("offline")
    (folder / "images").mkdir()
    captions, objects, pairs, labels = [], {}, [], ["image,phrase,present"]
    for sample in sandbox.scenes(4):
        name = f"{sample.image_id}.png"
        sample.image.save(folder / "images" / name)
        captions.append({"id": name, "image": name, "caption": f"A {sample.names[0]} and a zebra."})
        objects[name] = list(sample.names)
        pairs.append({"image": name, "question": "What is it?", "chosen": sample.names[0], "rejected": "A zebra."})
        labels += [f"{name},{sample.names[0]},true", f"{name},zebra,false"]
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, captions)))
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    (folder / "objects.json").write_text(json.dumps(objects))
    (folder / "labels.csv").write_text("\n".join(labels) + "\n")
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(REFUSE)
    return folder


def start(folder, command):
    """Start a command with sockets refused; the connection to the cache of the hub is not forced off."""
    tried = folder / "tried.txt"
    tried.write_text("")
    quiet = ("CI", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK")
    env = {key: value for key, value in os.environ.items() if key not in quiet}
    path = os.pathsep.join([str(folder / "site"), str(ROOT)])
    env |= {"PYTHONPATH": path, "TRIED": str(tried), "OMP_NUM_THREADS": "1", "HOME": str(folder)}
    command = [sys.executable, "-m", "halluguard", *command]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return tried, subprocess.Popen(command, cwd=folder, env=env, **pipes)


def run(folder, command, codes=(0,)):
    """The attempts of a command, one per line."""
    tried, process = start(folder, command)
    _, errors = process.communicate()
    assert process.returncode in codes, errors[-800:]
    return tried.read_text()


AUDIT = ("audit", "captions.jsonl", "--out")
TRAIN = ("train", "pairs.jsonl", "--images", "images", "--model", "sandbox", "--device", "cpu", "--batch-size", "2")

COMMANDS = {
    "help": ("--help",),
    "version": ("--version",),
    "audit with known objects": (*AUDIT, "known", "--objects", "objects.json", "--images", "images"),
    "audit with the sandbox": (*AUDIT, "seen", "--detector", "sandbox", "--images", "images"),
    "explain": ("explain", "known", "#1"),
    "caption": ("caption", "images", "--out", "said.jsonl", "--model", "sandbox", "--limit", "2"),
    "calibrate": ("calibrate", "labels.csv", "--detector", "sandbox", "--images", "images", "--out", "t.json"),
    "train pairs": (*TRAIN, "--out", "adapter", "--merge", "merged", "--save-every", "1"),
    "train answers": (*TRAIN, "--out", "plain", "--plain"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_stays_offline(folder, name):
    if name == "explain":
        run(folder, COMMANDS["audit with known objects"])
    codes = (0,) if name != "calibrate" else (0, 2, 3)  # eight rows may be too few to fit on; it then says so
    assert run(folder, COMMANDS[name], codes) == ""


@pytest.mark.slow
def test_the_demo_stays_offline(folder):
    assert run(folder, ("demo", "--out", "demo", "--scenes", "10")) == ""


def test_the_test_sees_an_attempt(folder):
    """A hub name that is not in the cache is named by the user, so asking for it is right: the net must catch it."""
    command = ("caption", "images", "--out", "other.jsonl", "--model", "nobody/nothing", "--limit", "1")
    tried, process = start(folder, command)
    while process.poll() is None and not tried.read_text():
        time.sleep(0.2)
    process.kill()  # the hub's client would try again for minutes
    process.communicate()
    assert "huggingface.co" in tried.read_text()
