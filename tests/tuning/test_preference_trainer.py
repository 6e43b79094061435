"""The preference trainer is TRL's where nothing is added, and an independent computation where something is."""

import math

import pytest
import torch
from torch.nn.functional import logsigmoid

pytest.importorskip("trl")

from trl import DPOConfig, DPOTrainer

from halluguard import InputError, SettingsError
from halluguard.tuning import as_dataset
from halluguard.tuning.collating import NegativeImageCollator
from halluguard.tuning.losses import segment_weights
from halluguard.tuning.preference_trainer import NegativePreferenceTrainer

from .conftest import moved, noise, preferences, tiled


def settings(folder, **more):
    return DPOConfig(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        max_length=None,
        report_to="none",
        gradient_checkpointing=False,
        remove_unused_columns=False,
        disable_tqdm=True,
        logging_steps=1,
        save_strategy="no",
        **{"per_device_train_batch_size": 4, "max_steps": 2, **more},
    )


def made(cls, model, processor, rows, folder, config=None, ref="copy", **more):
    return cls(
        model=moved(model),
        ref_model=model if ref == "copy" else None,
        args=settings(folder, **(config or {})),
        train_dataset=as_dataset(rows),
        processing_class=processor,
        **more,
    )


def loss_and_gradients(trainer, rows):
    trainer.model.eval()
    batch = trainer.data_collator([row.to_conversation() for row in rows])
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return float(loss), {n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None}


PLAIN = {"visual_weight": 0.0, "anchor_weight": 0.0}


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0]},
        {"loss_type": ["ipo"], "ld_alpha": 0.5},
        {"loss_type": ["hinge"], "f_divergence_type": "js_divergence"},
        {"loss_type": ["sigmoid_norm"], "use_weighting": True},
        {"loss_type": ["exo_pair"], "label_smoothing": 0.1},
    ],
    ids=str,
)
@pytest.mark.parametrize("negatives", [False, True], ids=["TRL's batch", "with the negatives in the batch"])
def test_with_the_extra_weights_at_zero_loss_and_gradients_are_trls(model, processor, tmp_path, config, negatives):
    rows = preferences()
    theirs = made(DPOTrainer, model, processor, rows, tmp_path, config)
    collator = NegativeImageCollator(processor, negatives=negatives)
    ours = made(NegativePreferenceTrainer, model, processor, rows, tmp_path, config, data_collator=collator, **PLAIN)
    (loss, gradients), (other, others) = loss_and_gradients(theirs, rows), loss_and_gradients(ours, rows)
    assert other == pytest.approx(loss, abs=1e-6)
    assert gradients.keys() == others.keys()
    assert max(float((gradients[n] - others[n]).abs().max()) for n in gradients) < 1e-6


def by_hand(model, reference, processor, row, gamma):
    """The three terms of one row from plain logits, one sequence at a time."""
    chat = row.to_conversation()

    def ratio(answer, images, weights=None):
        given = {"images": [images]} if images else {}
        prompt = processor.apply_chat_template(chat["prompt"], add_generation_prompt=True)
        inputs = processor(text=[prompt + " " + answer + " </s>"], return_tensors="pt", **given)
        count = len(processor.tokenizer(answer + " </s>").input_ids)
        found = []
        for which in (model, reference):
            with torch.no_grad():
                logits = which(**inputs).logits[0, :-1].log_softmax(-1)
            tokens = logits.gather(1, inputs["input_ids"][0, 1:, None])[-count:, 0]
            found.append((tokens * torch.tensor(weights or [1.0] * count)).sum())
        return found[0] - found[1]

    ids = [processor.tokenizer(text + " </s>").input_ids for text in (row.chosen, row.rejected)]
    weights = segment_weights(*ids, gamma)
    text = ratio(row.chosen, chat["images"], weights[0]) - ratio(row.rejected, chat["images"], weights[1])
    chosen = ratio(row.chosen, chat["images"])
    total = -logsigmoid(0.1 * text) - 0.5 * logsigmoid(0.1 * chosen - 0.3)
    if chat["negative_images"]:
        total = total - 2.0 * logsigmoid(0.1 * (chosen - ratio(row.chosen, chat["negative_images"])))
    return float(total)


@pytest.mark.parametrize("architecture", ["llava", "tiled"])
def test_the_full_loss_equals_an_independent_computation(model, processor, tmp_path, architecture):
    rows = preferences()
    if architecture == "tiled":
        model, processor = tiled()
        rows = preferences(sizes=((40, 90), (90, 40), (64, 64)))
    plain = moved(model)  # before TRL patches the forward, which a copy would share
    trainer = made(
        NegativePreferenceTrainer, model, processor, rows, tmp_path,
        visual_weight=2.0, anchor_weight=0.5, anchor_delta=0.3, gamma=2.0,
    )  # fmt: skip
    found, _ = loss_and_gradients(trainer, rows)
    expected = sum(by_hand(plain.eval(), model.eval(), processor, row, 2.0) for row in rows) / len(rows)
    assert found == pytest.approx(expected, abs=1e-5)


def test_policy_and_reference_see_the_same_images(model, processor, tmp_path):
    """mDPO's code draws the crop inside the forward: the two then compare different images."""
    rows = preferences(text_only=False)
    drawn = []

    def draw(images, seed):
        drawn.append(seed)
        return [noise(1000 + seed)]

    rows = [type(row)(row.images, row.prompt, row.chosen, row.rejected, seed=i) for i, row in enumerate(rows)]
    trainer = made(NegativePreferenceTrainer, model, processor, rows, tmp_path, draw=draw)
    seen = []
    for which in (trainer.model, trainer.ref_model):
        which.model.vision_tower.register_forward_pre_hook(
            lambda _, args, kwargs: seen.append((args[0] if args else kwargs["pixel_values"]).clone()),
            with_kwargs=True,
        )
    batch = trainer.data_collator([row.to_conversation() for row in rows])
    trainer.compute_loss(trainer.model, batch)
    assert len(seen) == 2
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0][0], seen[0][len(rows)]), "the negative is the image itself"
    again = trainer.data_collator([row.to_conversation() for row in rows])
    assert torch.equal(batch["pixel_values"], again["pixel_values"]), "another draw of the same row is another image"


def test_the_first_loss_is_log_two_for_each_term(model, processor, tmp_path):
    from halluguard.tuning.trainers import lora_config

    trainer = NegativePreferenceTrainer(
        model, settings(tmp_path), train_dataset=as_dataset(preferences(text_only=False)),
        processing_class=processor, peft_config=lora_config(4),
    )  # fmt: skip
    trainer.train()
    first = trainer.state.log_history[0]
    assert float(first["loss"]) == pytest.approx(3 * math.log(2), abs=1e-4)
    assert float(first["loss/visual"]) == pytest.approx(math.log(2), abs=1e-6)
    assert {"visual_gap", "rewards/visual_accuracies", "logps/chosen_per_token"} <= first.keys()


def test_rows_without_a_negative_take_no_part_in_the_visual_term(model, processor, tmp_path):
    rows = preferences(text_only=False)
    bare = [type(row)(row.images, row.prompt, row.chosen, row.rejected) for row in rows]
    with_term, without = (
        made(NegativePreferenceTrainer, model, processor, bare, tmp_path, visual_weight=weight, anchor_weight=0.0)
        for weight in (1.0, 0.0)
    )
    assert loss_and_gradients(with_term, bare)[0] == loss_and_gradients(without, bare)[0]


def test_a_row_that_is_rewritten_everywhere_keeps_its_weights(processor):
    row = preferences(text_only=False)[0].to_conversation()
    edited = NegativeImageCollator(processor, gamma=5.0)([{**row, "minimal_edit": True}])["token_weights"]
    rewritten = NegativeImageCollator(processor, gamma=5.0)([{**row, "minimal_edit": False}])["token_weights"]
    assert 5.0 in edited
    assert set(rewritten.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("more", "config", "words"),
    [
        ({"visual_weight": -1.0}, {}, ">= 0"),
        ({"gamma": 0.0}, {}, "gamma"),
        ({}, {"max_length": 512}, "max_length"),
        ({"gamma": 2.0}, {"use_weighting": True}, "use_weighting"),
    ],
)
def test_bad_settings_are_refused(model, processor, tmp_path, more, config, words):
    args = settings(tmp_path)
    for name, value in config.items():
        setattr(args, name, value)
    with pytest.raises(SettingsError, match=words):
        NegativePreferenceTrainer(
            model, args, train_dataset=as_dataset(preferences()), processing_class=processor, **more
        )


def test_negatives_that_do_not_fit_are_refused(processor):
    row = preferences(text_only=False)[0].to_conversation()
    with pytest.raises(InputError, match="as many negative"):
        NegativeImageCollator(processor)([{**row, "negative_images": [noise(0), noise(1)]}])
    with pytest.raises(InputError, match="seed"):
        NegativeImageCollator(processor, draw=lambda p, s: p)([{**row, "negative_images": [], "seed": None}])
