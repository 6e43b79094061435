"""Train the sandbox detector: OwlViT predicts names and a box for every patch."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import OwlViTForObjectDetection
from transformers.loss.loss_for_object_detection import generalized_box_iou

from halluguard.sandbox.models import GRID, build_detector, build_detector_processor
from halluguard.sandbox.train.loop import Facts, fit_model, shuffled
from halluguard.sandbox.train.scenes import INDEX, Scenes, to_pixel_values
from halluguard.sandbox.train.tower import load
from halluguard.sandbox.world import CATEGORIES, IMAGE_SIZE

TEMPLATES = ("a photo of a {}", "a {}", "{}")
BOX_WEIGHT = 5.0


def box_targets(scenes: Scenes, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Category (-1 for background) and box (cx, cy, w, h in shares of the image) of every patch.

    Returns (B, P) long and (B, P, 4) float32.
    """
    categories = np.full((len(rows), GRID * GRID), -1)
    boxes = np.zeros((len(rows), GRID * GRID, 4), np.float32)
    for b, row in enumerate(rows):
        owners = scenes.owners[row].reshape(-1)
        for patch in np.nonzero(owners >= 0)[0]:
            thing = scenes.scenes[row].objects[owners[patch]]
            x1, y1, x2, y2 = thing.box
            categories[b, patch] = INDEX[thing.name]
            boxes[b, patch] = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
    return torch.from_numpy(categories), torch.from_numpy(boxes / IMAGE_SIZE)


def corners(boxes: torch.Tensor) -> torch.Tensor:
    """(n, 4) centre and size to (n, 4) corners."""
    center, half = boxes[:, :2], boxes[:, 2:].clamp(min=1e-4) / 2
    return torch.cat([center - half, center + half], 1)


def focal_loss(logits: torch.Tensor, categories: torch.Tensor) -> torch.Tensor:
    """Sigmoid focal loss (gamma 2, alpha 0.75) over all names, summed, per object patch."""
    truth = torch.zeros_like(logits)
    foreground = categories >= 0
    truth[foreground] = F.one_hot(categories[foreground], logits.shape[-1]).to(logits.dtype)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    right = torch.exp(-entropy)
    return (entropy * (1 - right) ** 2 * (0.75 * truth + 0.25 * (1 - truth))).sum() / foreground.sum().clamp(min=1)


def prepare(model: OwlViTForObjectDetection, out: Path) -> None:
    """Give the detector the pretrained tower and a calm start: low scores, boxes at their patches."""
    pretrained = load(out).tower.state_dict()
    renamed = {
        key.replace("vision_model.", "").replace("pre_layrnorm", "pre_layernorm"): v for key, v in pretrained.items()
    }
    tower = model.owlvit.vision_model
    own = set(tower.state_dict())
    tower.load_state_dict({key: value for key, value in renamed.items() if key in own})
    nn.init.constant_(model.class_head.logit_shift.bias, -4.0)
    for weights in (model.class_head.logit_shift.weight, model.box_head.dense2.weight, model.box_head.dense2.bias):
        nn.init.zeros_(weights)


def train(scenes: Scenes, out: Path, steps: int, seed: int = 0, batch: int = 32) -> Facts:
    """Train from the pretrained tower and save `detector/` (float32) under `out`; returns the facts of the run."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    processor = build_detector_processor()
    model = build_detector(processor)
    prepare(model, out)

    def loss_of(rows: np.ndarray) -> tuple[torch.Tensor, dict[str, float]]:
        template = rng.choice(TEMPLATES)
        words = processor.tokenizer([template.format(name) for name in CATEGORIES], padding=True, return_tensors="pt")
        grid = model.image_embedder(pixel_values=to_pixel_values(scenes.pixels[rows]))[0]
        features = grid.flatten(1, 2)
        texts = model.owlvit.get_text_features(**words).pooler_output
        logits = model.class_predictor(features, texts[None].expand(len(rows), -1, -1))[0]
        boxes = model.box_predictor(features, grid)
        categories, targets = box_targets(scenes, rows)
        foreground = categories >= 0
        focal = focal_loss(logits, categories)
        distance = (boxes[foreground] - targets[foreground]).abs().sum(1).mean()
        overlap = generalized_box_iou(corners(boxes[foreground]), corners(targets[foreground])).diagonal()
        loss = focal + BOX_WEIGHT * distance + (1 - overlap).mean()
        return loss, {"focal": focal.item(), "l1": distance.item(), "giou": overlap.mean().item()}

    tower = list(model.owlvit.vision_model.parameters())
    facts = {"seed": seed, "batch": batch, "scenes": len(scenes)}
    order = shuffled(len(scenes), batch, seed + 1)
    return fit_model("detector", model, processor, loss_of, order, slow=tower, rate=1e-3, steps=steps, out=out, **facts)
