"""The callback measures the model that is trained, says when a number improves for the wrong reason, and stops."""

import json

import pytest
import torch

pytest.importorskip("trl")

from halluguard import Guard, InputError
from halluguard.tuning import fine_tune
from halluguard.tuning.evaluation import Evaluation, HeldOut, Limits, alarms, measure

from .conftest import noise
from .test_preflight import instructions

OBJECTS = (("dog", "cat", "bench"), ("dog", "car", "bus"), ("cat", "pizza", "bowl"), ("dog",))


class Stub:
    """Answers from its truth, spoilt by a lean towards no and a limit of words."""

    def __init__(self, lean=0.0, words=99, model=None):
        self.lean, self.words, self.model = lean, words, model or torch.nn.Linear(1, 1)

    def drafts(self, images, prompts, **_):
        color = "Red." if self.lean == 0 else "Blue."
        texts = [
            f"The image shows a {' and a '.join(OBJECTS[image])}." if prompt == "Describe the image." else color
            for image, prompt in zip(images, prompts, strict=True)
        ]
        return [" ".join(text.split()[: self.words]) for text in texts]

    def margins(self, images, questions):
        return [
            (1.0 if any(f" {name} " in text for name in OBJECTS[image]) else -1.0) - self.lean
            for image, text in zip(images, questions, strict=True)
        ]


HELD = HeldOut(range(4), OBJECTS, retention=((0, "What color is it?", "red"),))


def test_a_model_that_is_right_scores_one():
    found = measure(Stub(), HELD)
    for name in ("pope_acc", "pope_recall", "pope_auc", "chair_recall", "retention"):
        assert found[name] == 1.0, name
    assert (found["chair_i"], found["pope_yes_ratio"]) == (0.0, 0.5)


@pytest.mark.parametrize(
    ("worse", "words"),
    [
        (Stub(lean=2.0), "yes-ratio"),
        (Stub(lean=2.0), "recall of yes/no"),
        (Stub(lean=2.0), "retention"),
        (Stub(words=5), "words"),
    ],
)
def test_cheats_are_named(worse, words):
    """Always no has no hallucination, five words have little: neither is a better model."""
    found = alarms(measure(Stub(), HELD), measure(worse, HELD))
    assert any(words in told for told in found), found


def test_always_no_does_not_move_the_auc():
    assert measure(Stub(lean=5.0), HELD)["pope_auc"] == 1.0


def test_nothing_moved_is_no_alarm():
    assert alarms(measure(Stub(), HELD), measure(Stub(), HELD)) == []


def test_during_a_run_it_measures_at_start_steps_and_end(model, processor, tmp_path):
    guard = Guard(model, processor)
    held = HeldOut([noise(i) for i in range(4)], OBJECTS)
    watch = Evaluation(guard, held, every=2, out=tmp_path, max_new_tokens=4)
    fine_tune(
        model, processor, instructions(), tmp_path / "adapter",
        batch_size=1, learning_rate=1e-2, epochs=1, callbacks=[watch], device="cpu",
    )  # fmt: skip
    assert [step for step, _ in watch.history] == [0, 2, 4]
    lines = [json.loads(line) for line in (tmp_path / "evaluation.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 2, 4]
    assert watch.history[0][1]["pope_auc"] != watch.history[-1][1]["pope_auc"], "not the trained model is measured"


def test_an_alarm_stops_the_run(model, processor, tmp_path):
    stub = Stub(model=model)

    class Spoil(Evaluation):
        def on_step_end(self, args, state, control, **kwargs):
            stub.lean = 2.0
            super().on_step_end(args, state, control, **kwargs)

    watch = Spoil(stub, HELD, every=1, stop=True)
    with pytest.warns(UserWarning, match="yes-ratio"):
        facts = fine_tune(
            model, processor, instructions(), tmp_path, batch_size=1, callbacks=[watch], device="cpu", check=False
        )
    assert facts["steps"] == 1


def test_likelihood_displacement_is_seen_in_the_log():
    from transformers import TrainerControl, TrainerState

    watch = Evaluation(Stub(), HELD, limits=Limits(chosen_logp=0.1), stop=True)
    state, control = TrainerState(), TrainerControl()
    for value in (-0.50, -0.55):
        watch.on_log(None, state, control, logs={"logps/chosen_per_token": value})
    assert not control.should_training_stop
    with pytest.warns(UserWarning, match="displacement"):
        watch.on_log(None, state, control, logs={"logps/chosen_per_token": -0.65})
    assert control.should_training_stop


def test_images_and_objects_must_fit():
    with pytest.raises(InputError, match="objects of each"):
        HeldOut([1, 2], [["dog"]])
