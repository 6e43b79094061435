"""Count requests, checks and claims, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from halluguard.records import Answer

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)


class Metrics:
    """Counters of one server. Each server has its own, so that several can run in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("requests", "Finished requests, by HTTP status.", "status")
        self.running = Gauge("halluguard_requests_running", "Requests in progress.", registry=self.registry)
        self.model = self._histogram("model_seconds", "Time of the model's answer.", _SECONDS)
        self.check = self._histogram("check_seconds", "Time of the checks of an answer.", _SECONDS)
        self.batch = self._histogram("detector_images", "Images per call of the detector.", (1, 2, 4, 8, 16, 32))
        self.claims = self._counter("claims", "Claims that were checked, by decision.", "decision")
        self.edits = self._counter("edits", "Edits of answers, by decision.", "decision")
        self.unchecked = self._counter("unchecked_answers", "Answers that were sent without a check.")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"halluguard_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"halluguard_{name}", text, buckets=buckets, registry=self.registry)

    def count(self, answer: Answer) -> None:
        """Add the verdicts and edits of an answer."""
        for verdict in answer.verdicts:
            self.claims.labels(verdict.decision).inc()
        for edit in answer.edits:
            self.edits.labels(edit.decision).inc()

    def text(self) -> bytes:
        """All counters in Prometheus' text format."""
        return generate_latest(self.registry)
