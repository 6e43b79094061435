"""Verify claims with detectors and property experts: one verdict per claim."""

from halluguard.correction.verification.evidence import Calibration
from halluguard.correction.verification.thresholds import Thresholds, thresholds_of
from halluguard.correction.verification.verify import Properties, verify, verify_many

__all__ = ["Calibration", "Properties", "Thresholds", "thresholds_of", "verify", "verify_many"]
