"""Train the sandbox MLLM: captions with the biased prior, yes/no questions, counts, colours, relations."""

from __future__ import annotations

import random
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerBase

from halluguard.sandbox.language import BLIND, CAPTION_PROMPTS, SEEN, caption, detail_turn, existence_turn
from halluguard.sandbox.models import HIDDEN, build_mllm, build_processor
from halluguard.sandbox.train.loop import Facts, fit_model, shuffled
from halluguard.sandbox.train.packing import Packer, Turn
from halluguard.sandbox.train.scenes import Scenes, to_pixel_values
from halluguard.sandbox.train.tower import TowerPretraining, load, patch_loss
from halluguard.sandbox.world import CATEGORIES, Scene

PATCH_LOSS = 0.4
"""Weight of the tower's patch loss during joint training, so that the tower still locates objects."""
FROZEN = 0.4
"""Share of the steps during which the tower is not trained."""


def turns(scene: Scene, rng: random.Random) -> list[Turn]:
    """The turns about one scene in one step: a caption, three yes/no questions, a detail."""
    exchanges = []
    if rng.random() < 0.85:
        blind = rng.random() < 0.12
        exchanges.append(Turn(rng.choice(CAPTION_PROMPTS), caption(scene, rng, BLIND if blind else SEEN), blind))
    for _ in range(3):
        exchanges.append(Turn(*existence_turn(scene, rng), blind=rng.random() < 0.05, weight=5.0))
    if rng.random() < 0.5:
        exchanges.append(Turn(*detail_turn(scene, rng), weight=3.0))
    return exchanges


def teach_projector(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    pretrained: TowerPretraining,
    scenes: Scenes,
    steps: int = 500,
) -> float:
    """Initialise the projector so that it maps the tower's patch predictions to the embeddings of their words.

    Returns the final loss relative to predicting the mean.
    """
    embeddings = cast("torch.Tensor", model.get_input_embeddings().weight).data
    names = tokenizer(list(CATEGORIES), add_special_tokens=False).input_ids
    words = torch.stack([torch.zeros(HIDDEN), *(embeddings[ids].mean(0) for ids in names)])
    features, targets = [], []
    with torch.no_grad():
        for at in range(0, min(1500, len(scenes)), 100):
            hidden = pretrained.tower(pixel_values=to_pixel_values(scenes.pixels[at : at + 100])).last_hidden_state[
                :, 1:
            ]
            features.append(hidden)
            targets.append(pretrained.patch_head(hidden).softmax(-1) @ words)
    inputs, embedded = torch.cat(features), torch.cat(targets)
    embedded = embedded + torch.randn(embedded.shape[1:]) * 0.004  # a little of where each patch is
    spread = embedded.std()
    projector = model.model.multi_modal_projector
    optimizer = torch.optim.AdamW(projector.parameters(), 2e-3)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 2e-3 * (1 - step / steps) + 1e-5
        rows = torch.randint(0, len(inputs), (48,))
        loss = F.mse_loss(projector(inputs[rows]) / spread, embedded[rows] / spread)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return loss.item()


def train(scenes: Scenes, out: Path, steps: int, seed: int = 0, batch: int = 24) -> Facts:
    """Train from the pretrained tower and save `mllm/` (float32) under `out`; returns the facts of the run."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    processor = build_processor()
    model = build_mllm(processor)
    pretrained = load(out)
    model.model.vision_tower.load_state_dict(pretrained.tower.state_dict())
    projector_loss = teach_projector(model, processor.tokenizer, pretrained, scenes)
    packer = Packer(processor.tokenizer, model.config.image_token_id)
    tower = model.model.vision_tower
    features: dict[str, torch.Tensor] = {}
    tower.register_forward_hook(lambda _module, _inputs, output: features.update(hidden=output.last_hidden_state))
    step = 0

    def loss_of(rows: np.ndarray) -> tuple[torch.Tensor, dict[str, float]]:
        nonlocal step
        step += 1
        tower.requires_grad_(step > FROZEN * steps)
        packed = packer([turns(scenes.scenes[row], rng) for row in rows])
        hidden = model.model(
            input_ids=packed.ids,
            pixel_values=to_pixel_values(scenes.pixels[rows]),
            attention_mask=packed.mask,
            position_ids=packed.positions,
            use_cache=False,
        ).last_hidden_state
        learnt = packed.targets >= 0
        weights = packed.weights[learnt]
        each = F.cross_entropy(model.lm_head(hidden[learnt]), packed.targets[learnt], reduction="none")
        loss = (each * weights).sum() / weights.sum()
        parts = {"caption": each[weights == 1].mean().item(), "yes/no": each[weights == 5].mean().item()}
        if (weights == 3).any():
            parts["detail"] = each[weights == 3].mean().item()
        if step > FROZEN * steps:
            patch = patch_loss(pretrained.patch_head(features["hidden"][:, 1:]), scenes.patches[rows])
            loss, parts["patch"] = loss + PATCH_LOSS * patch, patch.item()
        return loss, parts

    facts = {"seed": seed, "batch": batch, "scenes": len(scenes), "projector loss": round(projector_loss, 3)}
    visual = [*tower.parameters(), *pretrained.patch_head.parameters()]
    order = shuffled(len(scenes), batch, seed)
    return fit_model("mllm", model, processor, loss_of, order, slow=visual, rate=1.5e-3, steps=steps, out=out, **facts)
