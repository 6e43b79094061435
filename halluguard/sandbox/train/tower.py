"""Pretrain the vision tower: the category of each patch, the categories of the image, the context."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPVisionModel

from halluguard.sandbox.models import HIDDEN, tower_config
from halluguard.sandbox.train.loop import Facts, fit, shuffled
from halluguard.sandbox.train.scenes import INDEX, Scenes, to_pixel_values
from halluguard.sandbox.world import CATEGORIES, CONTEXTS

BACKGROUND_WEIGHT = 0.25


class TowerPretraining(nn.Module):
    """A CLIP tower with three linear heads: patch category, image categories, context."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = CLIPVisionModel(tower_config())
        self.patch_head = nn.Linear(HIDDEN, len(CATEGORIES) + 1)
        self.image_head = nn.Linear(HIDDEN, len(CATEGORIES))
        self.context_head = nn.Linear(HIDDEN, len(CONTEXTS))

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        hidden = self.tower(pixel_values=pixel_values).last_hidden_state
        return self.patch_head(hidden[:, 1:]), self.image_head(hidden[:, 0]), self.context_head(hidden[:, 0])


def patch_weights() -> torch.Tensor:
    """Class weights of the patch loss: most patches are background."""
    weights = torch.ones(len(CATEGORIES) + 1)
    weights[0] = BACKGROUND_WEIGHT
    return weights


def patch_loss(logits: torch.Tensor, patches: np.ndarray) -> torch.Tensor:
    """logits (B, P, 1 + categories), patches (B, G, G): category index + 1 or 0."""
    target = torch.from_numpy(patches.reshape(-1)).long()
    return F.cross_entropy(logits.float().flatten(0, 1), target, weight=patch_weights())


def train(scenes: Scenes, out: Path, steps: int, seed: int = 0, batch: int = 64) -> Facts:
    """Train and save `tower.pt` under `out`; returns the facts of the run."""
    torch.manual_seed(seed)
    model = TowerPretraining()
    present = torch.zeros(len(scenes), len(CATEGORIES))
    places = torch.tensor([sorted(CONTEXTS).index(scene.context) for scene in scenes.scenes])
    for row, scene in enumerate(scenes.scenes):
        present[row, [INDEX[name] for name in scene.names]] = 1

    def loss_of(rows: np.ndarray) -> tuple[torch.Tensor, dict[str, float]]:
        patch, image, context = model(to_pixel_values(scenes.pixels[rows]))
        losses = (
            patch_loss(patch, scenes.patches[rows]),
            F.binary_cross_entropy_with_logits(image.float(), present[rows]) * 8,
            F.cross_entropy(context.float(), places[rows]) * 0.2,
        )
        truth = torch.from_numpy(scenes.patches[rows].reshape(len(rows), -1))
        hit = (patch.argmax(-1) == truth)[truth > 0].float().mean()
        return losses[0] + losses[1] + losses[2], {
            "patch": losses[0].item(),
            "image": losses[1].item(),
            "object accuracy": hit.item(),
        }

    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    facts = fit(
        [{"params": decayed, "lr": 1.5e-3, "weight_decay": 0.05}, {"params": plain, "lr": 1.5e-3, "weight_decay": 0.0}],
        loss_of,
        shuffled(len(scenes), batch, seed),
        steps=steps,
        log=out / "tower.log.jsonl",
        warmup=150,
        checkpoint=lambda _: torch.save(model.state_dict(), out / "tower.pt"),
    )
    torch.save(model.state_dict(), out / "tower.pt")
    return facts


def load(out: Path) -> TowerPretraining:
    model = TowerPretraining()
    model.load_state_dict(torch.load(out / "tower.pt", weights_only=True))
    return model.eval()
