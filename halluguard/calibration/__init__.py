"""Thresholds and confidences of an expert, from rows that say what is there.

rows.py      labelled rows, and the expert's score for each
fitting.py   the rule, the curve, and what they do on images that were held out
record.py    what was found, as the file that `halluguard audit --thresholds` reads
"""

from halluguard.calibration.fitting import fit
from halluguard.calibration.labelled_rows import Labelled, Scored, read_rows, score_rows
from halluguard.calibration.record import Calibration, Curve

__all__ = ["Calibration", "Curve", "Labelled", "Scored", "fit", "read_rows", "score_rows"]
