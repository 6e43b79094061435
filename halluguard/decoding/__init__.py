"""During generation: one published method a file, its equation first.

    view = VCD(alpha=1.0).on(model, processor)
    view.generate(**inputs, num_beams=3)          # everything the model's own generate takes

A new method is one file with a class that states its negative rows and its formula (`branches.Method`).
"""

from halluguard.decoding.knob import Imagination
from halluguard.decoding.vcd import VCD

__all__ = ["VCD", "Imagination"]
