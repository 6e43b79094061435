"""Every builder of training rows, by what it teaches. Each lives in its own file; this is the list of them.

existence      negative_instructions, negative_preferences, false_premises     instructions.py
attributes     attribute_swaps, knowledge_swaps                                swaps.py
captions       hallucinated_captions                                           captions.py
own answers    on_policy_pairs, balance_lengths                                on_policy.py
images         negative_images, erased_preferences, swapped_preferences        counterfactuals.py
               conditional_images                                              conditional.py
keeping        retention_rows, mix                                             retention.py, splits.py
"""

from halluguard.tuning.annotations import Annotated, coco_items
from halluguard.tuning.captions import hallucinated_captions
from halluguard.tuning.counterfactuals import erased_preferences, negative_images, swapped_preferences
from halluguard.tuning.images import Crop, Erased, Noised, Shuffled, erase
from halluguard.tuning.instructions import false_premises, negative_instructions, negative_preferences
from halluguard.tuning.negative_image_pairs import conditional_images
from halluguard.tuning.on_policy import Sampled, balance_lengths, on_policy_pairs
from halluguard.tuning.replay import retention_rows
from halluguard.tuning.splits import EvaluationImages, mix, refuse_leaks, split_by_image, without_leaks
from halluguard.tuning.swaps import attribute_swaps, knowledge_swaps

__all__ = [
    "Annotated",
    "Crop",
    "Erased",
    "EvaluationImages",
    "Noised",
    "Sampled",
    "Shuffled",
    "attribute_swaps",
    "balance_lengths",
    "coco_items",
    "conditional_images",
    "erase",
    "erased_preferences",
    "false_premises",
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
