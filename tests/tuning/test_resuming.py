"""A training that is killed, fed other rows, or runs into bad numbers or a full disk: resumed right, or refused."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytest.importorskip("trl")

from halluguard import InputError
from halluguard.errors import SettingsError, TrainingError
from halluguard.tuning import InstructionRow, PreferenceLoss, PreferenceRow, fine_tune
from halluguard.tuning.resuming import MANIFEST

from .conftest import noise
from .test_runs import drawn_pairs, fresh, train, weights

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole run with a checkpoint every second step."""
    folder = tmp_path_factory.mktemp("finished")
    train(folder, drawn_pairs(8), save_every=2)
    return folder


@pytest.fixture
def cut(finished, tmp_path):
    """The same run without its adapter, as after a kill."""
    shutil.copytree(finished / "checkpoints", tmp_path / "checkpoints")
    return tmp_path


def same(one, two):
    a, b = weights(one), weights(two)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("damage", ["cut", "gone", "no manifest", "manifest cut", "manifest of another shape"])
def test_a_broken_newest_checkpoint_is_passed_over(finished, cut, damage):
    newest = cut / "checkpoints" / "checkpoint-4"
    adapter = newest / "adapter_model.safetensors"
    if damage == "cut":
        adapter.write_bytes(adapter.read_bytes()[:-100])
    elif damage == "gone":
        adapter.unlink()
    elif damage == "no manifest":
        (newest / MANIFEST).unlink()
    elif damage == "manifest cut":
        (newest / MANIFEST).write_text((newest / MANIFEST).read_text()[:40])
    else:
        (newest / MANIFEST).write_text("[1]")
    assert train(cut, drawn_pairs(8), save_every=2, resume=True)["steps"] == 4
    assert same(finished, cut)


def test_only_broken_checkpoints_are_said_to_be_broken(cut):
    for manifest in cut.rglob(MANIFEST):
        manifest.unlink()
    with pytest.raises(InputError, match="2 broken ones"):
        train(cut, drawn_pairs(8), save_every=2, resume=True)


@pytest.mark.parametrize(
    ("rows", "settings", "words"),
    [
        (drawn_pairs(10), {}, "other rows"),
        ([PreferenceRow(row.images, row.prompt, row.rejected, row.chosen) for row in drawn_pairs(8)], {}, "other rows"),
        (drawn_pairs(8), {"learning_rate": 1e-3}, "other learning_rate"),
        (drawn_pairs(8), {"batch_size": 4, "seed": 1}, "other batch_size, seed"),
        (drawn_pairs(8), {"preference": PreferenceLoss(beta=0.2)}, "other preference"),
    ],
)
def test_other_rows_or_settings_are_not_resumed(cut, rows, settings, words):
    with pytest.raises(InputError, match=words):
        train(cut, rows, save_every=2, resume=True, **settings)


def test_another_model_is_not_resumed(cut):
    model, processor = fresh()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    settings = {"learning_rate": 1e-2, "batch_size": 2, "device": "cpu", "rank": 4}
    with pytest.raises(InputError, match="other model"):
        fine_tune(model, processor, drawn_pairs(8), cut, resume=True, **settings)


def test_a_loss_that_is_not_finite_ends_without_an_adapter(tmp_path, monkeypatch):
    from trl import DPOTrainer

    step = DPOTrainer.training_step

    def spoilt(self, *args, **settings):
        loss = step(self, *args, **settings)
        return loss * torch.nan if self.state.global_step == 2 else loss

    monkeypatch.setattr(DPOTrainer, "training_step", spoilt)
    with pytest.raises(TrainingError, match="step 3 is nan"):
        train(tmp_path, drawn_pairs(8))
    assert not (tmp_path / "adapter_model.safetensors").exists()


def test_an_earlier_adapter_is_not_taken_for_that_of_a_failed_training(finished, tmp_path, monkeypatch):
    from trl import DPOTrainer

    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(finished / name, tmp_path / name)
    with monkeypatch.context() as patched:
        patched.setattr(DPOTrainer, "training_step", lambda self, *args, **settings: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(tmp_path, drawn_pairs(4))
    assert not (tmp_path / "adapter_config.json").exists()
    assert same(finished, tmp_path / "previous"), "the earlier one is kept, under another name"
    train(tmp_path, drawn_pairs(4))
    assert (tmp_path / "adapter_config.json").exists()
    assert not (tmp_path / "previous").exists()


def test_weights_that_are_not_finite_end_without_an_adapter(tmp_path):
    from transformers import TrainerCallback

    class Spoil(TrainerCallback):
        def on_train_end(self, args, state, control, model=None, **_):
            with torch.no_grad():
                next(p for p in model.parameters() if p.requires_grad).fill_(torch.inf)

    with pytest.raises(TrainingError, match="not finite"):
        train(tmp_path, drawn_pairs(4), callbacks=[Spoil()])
    assert not (tmp_path / "adapter_model.safetensors").exists()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda out: train(out, epochs=float("inf")), "epochs inf"),
        (lambda out: train(out, epochs=float("nan")), "epochs nan"),
        (lambda out: train(out, learning_rate=float("inf")), "learning_rate inf"),
        (lambda out: train(out, save_every=0), "save_every 0"),
        (lambda out: PreferenceLoss(losses=("sigmod",)), "sigmod"),
        (lambda out: PreferenceLoss(beta=float("inf")), "beta"),
        (lambda out: train(out, preference=PreferenceLoss(gamma=float("inf"))), "gamma"),
        (lambda out: train(out, preference=PreferenceLoss(visual_weight=float("nan"))), "visual_weight"),
        (lambda out: train(out, preference=PreferenceLoss(losses=("exo_pair",))), "TRL refuses"),
    ],
)
def test_settings_without_an_end_or_a_meaning_are_refused(tmp_path, make, words):
    with pytest.raises(SettingsError, match=words):
        make(tmp_path)


@pytest.mark.parametrize("field", ["prompt", "completion", "history"])
def test_an_image_token_inside_a_text_is_refused(tmp_path, field):
    texts = {"prompt": "What is there?", "completion": "A dog."}
    history = ()
    if field == "history":
        history = (("What is <image>?", "A dog."),)
    else:
        texts[field] = f"An <image> of it. {texts[field]}"
    rows = [InstructionRow((noise(0),), **texts, history=history)]
    with pytest.raises(InputError, match=f"row 0: the {field} holds '<image>'"):
        train(tmp_path, rows)


FULL = """
import resource, signal, sys
from halluguard.errors import OutputError
from tests.tuning.test_runs import drawn_pairs, train
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    train(sys.argv[1], drawn_pairs(4), save_every=1)
except OutputError as error:
    print("SAID:" + str(error))
"""


@pytest.mark.parametrize("limit", [2_000, 100_000])
def test_a_full_disk_is_said_to_be_full(tmp_path, limit):
    """Files may not grow beyond a limit, which fails as a full disk does: in the adapter's or the optimizer's file."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", FULL, str(tmp_path), str(limit)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, check=False)
    said = [line for line in run.stdout.splitlines() if line.startswith("SAID:")]
    assert said, run.stderr[-600:]
    assert "cannot write to" in said[0]
    assert not (tmp_path / "adapter_model.safetensors").exists()


def run_and_kill(out, delay):
    """One run that resumes where it can, killed `delay` seconds after it began; whether it had ended before that."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        from transformers import TrainerCallback

        class Begun(TrainerCallback):
            def on_train_begin(self, args, state, control, **_):
                os.write(writer, b"1")

        try:
            torch.set_num_threads(1)
            resume = any(out.glob("checkpoints/*/" + MANIFEST))
            train(out, drawn_pairs(40), save_every=1, resume=resume, check=False, callbacks=[Begun()])
        except BaseException:  # the parent sees the exit status
            os._exit(1)
        os._exit(0)
    os.close(writer)
    os.read(reader, 1)
    os.close(reader)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), "a resumed run failed"
    return status == 0


@pytest.mark.slow
def test_sixty_kills_end_in_the_same_weights(tmp_path):
    """Killed at random moments, many of them inside the saving of a checkpoint, and resumed each time."""
    train(tmp_path / "whole", drawn_pairs(40), check=False)
    rng, kills, out = random.Random(0), 0, tmp_path / "killed"
    while kills < 60:
        if run_and_kill(out, rng.uniform(0.0, 1.5)):
            shutil.rmtree(out)
        else:
            kills += 1
    assert run_and_kill(out, None)
    assert same(tmp_path / "whole", out)
    assert json.loads((out / "adapter_config.json").read_text())
