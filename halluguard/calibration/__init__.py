"""Fit thresholds and confidences of a detector to labelled rows, and certify a setting whose output keeps a promise.

labelled_rows.py   labelled rows, and the detector's score for each
fitting.py         thresholds, curves, and their measures on held-out images: a heuristic for single claims
record.py          the result, as the file that `halluguard audit --thresholds` reads
policy.py          a setting whose output keeps a promise, as the file that `halluguard audit --policy` reads
risk.py            the tests behind the promise
outcomes.py        the captions that the pipeline releases at each setting
losses.py          the errors of these captions, per image
"""

from halluguard.calibration.fitting import fit
from halluguard.calibration.labelled_rows import Labelled, Scored, read_rows, score_rows
from halluguard.calibration.outcomes import Outcome, Setting
from halluguard.calibration.policy import Policy, default_path
from halluguard.calibration.record import Calibration, Curve
from halluguard.calibration.risk import Risk

__all__ = [
    "Calibration",
    "Curve",
    "Labelled",
    "Outcome",
    "Policy",
    "Risk",
    "Scored",
    "Setting",
    "default_path",
    "fit",
    "read_rows",
    "score_rows",
]
