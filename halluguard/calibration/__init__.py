"""Fit a detector's thresholds and confidences to rows that say which objects are present.

labelled_rows.py   labelled rows, and the detector's score for each
fitting.py         thresholds, curves, and their measures on held-out images
record.py          the result, as the file that `halluguard audit --thresholds` reads
"""

from halluguard.calibration.fitting import fit
from halluguard.calibration.labelled_rows import Labelled, Scored, read_rows, score_rows
from halluguard.calibration.record import Calibration, Curve

__all__ = ["Calibration", "Curve", "Labelled", "Scored", "fit", "read_rows", "score_rows"]
