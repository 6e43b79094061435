"""Before generation: fine-tune with negative images and negative instructions. A model goes in, a model comes out.

    rows = [*negative_instructions(items, seed=0), *negative_images(items, seed=0)]
    fine_tune(model, processor, rows, "adapter/")

Builders of rows, by what they teach:

    existence      negative_instructions, negative_preferences, false_premises     instructions.py
    attributes     attribute_swaps, knowledge_swaps                                swaps.py
    captions       hallucinated_captions                                           captions.py
    own answers    on_policy_pairs, balance_lengths                                on_policy.py
    images         negative_images, erased_preferences, swapped_preferences        counterfactuals.py
                   conditional_images                                              negative_image_pairs.py
    keeping        retention_rows, mix                                             replay.py, splits.py

Building rows needs nothing beyond the core; training needs the extra `train` (TRL and PEFT).
"""

from halluguard.tuning.annotations import Annotated, coco_items
from halluguard.tuning.captions import hallucinated_captions
from halluguard.tuning.counterfactuals import erased_preferences, negative_images, swapped_preferences
from halluguard.tuning.images import Crop, Erased, Noised, Shuffled, erase
from halluguard.tuning.instructions import false_premises, negative_instructions, negative_preferences
from halluguard.tuning.negative_image_pairs import conditional_images
from halluguard.tuning.on_policy import Sampled, balance_lengths, on_policy_pairs
from halluguard.tuning.replay import retention_rows
from halluguard.tuning.rows import InstructionRow, PreferenceRow, RatedRow, TrainingRow, Truth, as_dataset
from halluguard.tuning.splits import EvaluationImages, mix, refuse_leaks, split_by_image, without_leaks
from halluguard.tuning.swaps import attribute_swaps, knowledge_swaps
from halluguard.tuning.trainers import PreferenceLoss, fine_tune

__all__ = [
    "Annotated",
    "Crop",
    "Erased",
    "EvaluationImages",
    "InstructionRow",
    "Noised",
    "PreferenceLoss",
    "PreferenceRow",
    "RatedRow",
    "Sampled",
    "Shuffled",
    "TrainingRow",
    "Truth",
    "as_dataset",
    "attribute_swaps",
    "balance_lengths",
    "coco_items",
    "conditional_images",
    "erase",
    "erased_preferences",
    "false_premises",
    "fine_tune",
    "hallucinated_captions",
    "knowledge_swaps",
    "mix",
    "negative_images",
    "negative_instructions",
    "negative_preferences",
    "on_policy_pairs",
    "refuse_leaks",
    "retention_rows",
    "split_by_image",
    "swapped_preferences",
    "without_leaks",
]
