"""Before generation: fine-tune with negative images and negative instructions. A model goes in, a model comes out.

    rows = [*negative_instructions(items, seed=0), *negative_images(items, seed=0)]
    fine_tune(model, processor, rows, "adapter/")

Building rows needs nothing beyond the core; training needs the extra `train` (TRL and PEFT).
"""

from halluguard.tuning.builders import Annotated, erase, negative_images, negative_instructions
from halluguard.tuning.rows import InstructionRow, PreferenceRow, RatedRow, Row, as_dataset
from halluguard.tuning.trainers import fine_tune

__all__ = [
    "Annotated",
    "InstructionRow",
    "PreferenceRow",
    "RatedRow",
    "Row",
    "as_dataset",
    "erase",
    "fine_tune",
    "negative_images",
    "negative_instructions",
]
