"""Add up a run: counts, rates with 95 % intervals, one line per label.

A summary is versioned and free of times and paths, so that equal inputs give equal bytes. A claim is judged when its
verdict is "supported" or "contradicted". With c_i contradicted and j_i judged claims in caption i of n captions:

    hallucination_rate   sum c_i / sum j_i           share of judged claims that are contradicted
    caption_rate         sum [c_i > 0] / n           share of audited captions with at least one of them
    verifiable           sum j_i / number of claims
    omission_rate        sum o_i / sum (o_i + s_i)   share of the found objects that the captions leave out,
                                                     with o_i omitted and s_i supported labels of caption i
    text_read            letters read / letters of the audited captions, as `correction.claims.coverage` counts them
    nouns_read           nouns read / nouns, in the same way
    unverifiable         share of claims that could not be judged: never asked, or with an answer that decides nothing
    never_asked          share of claims about which no expert was asked: none covers them (scenery, for a list of
                         objects), or they assert nothing (a thing in a picture); see `Verdict.asked`

The claims of one image are not independent, whether they stand in one caption or in several. The interval of every rate
is therefore that of a ratio of sums over images (`metrics.stats.clustered_share`). Images are put into `BUCKETS` groups
by a hash of their names, so that memory stays constant. Groups of whole images are as independent of each other as the
images are.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import TypedDict, cast

from halluguard.auditing.outputs.shift import ShiftWatch, without_scores
from halluguard.correction.verification import Thresholds
from halluguard.io import JsonObject
from halluguard.metrics.stats import clustered_share

SCHEMA = 1
DECISIONS = ("supported", "contradicted", "unsure", "unverifiable")
BUCKETS = 1024
"""Number of groups of images for which sums are kept."""


class Rate(TypedDict):
    """A share of `n` with its 95 % interval, rounded to 6 decimals; None where n is 0."""

    value: float | None
    low: float | None
    high: float | None
    n: int


class Sums:
    """Sums of hits and trials, by bucket of images."""

    def __init__(self) -> None:
        self.buckets: dict[int, list[int]] = {}

    def add(self, bucket: int, hits: int, trials: int) -> None:
        if trials:
            sums = self.buckets.setdefault(bucket, [0, 0])
            sums[0] += hits
            sums[1] += trials

    def merge(self, other: Sums) -> None:
        """Add the sums of other rows."""
        for bucket, (hits, trials) in other.buckets.items():
            self.add(bucket, hits, trials)

    def rate(self) -> Rate:
        """hits / trials, with its interval; the order of the added rows does not matter."""
        sums = [self.buckets[bucket] for bucket in sorted(self.buckets)]
        hits, trials = zip(*sums, strict=True) if sums else ((), ())
        if not trials:
            return {"value": None, "low": None, "high": None, "n": 0}
        value, low, high = clustered_share(hits, trials)
        return {"value": round(value, 6), "low": round(low, 6), "high": round(high, 6), "n": sum(trials)}


def bucket_of(image: str) -> int:
    """The bucket of an image, in 0..BUCKETS-1."""
    digest = hashlib.blake2b(image.encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest, "big") % BUCKETS


class Tally:
    """Add up checked rows, given as their JSON objects, in constant memory."""

    def __init__(self) -> None:
        self.rows = 0
        self.skipped: Counter[str] = Counter()
        self.with_contradiction = self.edited = 0
        self.by_kind: dict[str, Counter[str]] = {}
        self.by_label: dict[str, Counter[str]] = {}
        self.claims, self.captions, self.judged, self.unverifiable = Sums(), Sums(), Sums(), Sums()
        self.never_asked = Sums()
        self.letters, self.nouns = Sums(), Sums()
        self.of_kind: defaultdict[str, Sums] = defaultdict(Sums)
        self.of_label: defaultdict[str, Sums] = defaultdict(Sums)
        self.words = self.words_kept = 0
        self.released = 0
        self.watch: ShiftWatch | None = None
        self.omissions = Sums()  # hits: found objects that are left out; trials: found objects
        self.omissions_of: defaultdict[str, Sums] = defaultdict(Sums)
        self.with_omission = 0  # number of captions that leave out an object

    def add(self, row: JsonObject) -> None:
        self.rows += 1
        if row["code"] != "ok":
            self.skipped[row["code"]] += 1
            return
        if self.watch is not None:
            self.watch.add(row)
        bucket = bucket_of(row["image"] or row["id"])
        c = j = 0
        for verdict in row["verdicts"]:
            claim, decision = row["claims"][verdict["claim"]], verdict["decision"]
            label = claim.get("category") or claim["name"]
            self.by_kind.setdefault(claim["kind"], Counter())[decision] += 1
            self.by_label.setdefault(label, Counter())[decision] += 1
            hit, judged = decision == "contradicted", decision in ("supported", "contradicted")
            self.of_kind[claim["kind"]].add(bucket, hit, judged)
            self.of_label[label].add(bucket, hit, judged)
            c, j = c + hit, j + judged
        self.claims.add(bucket, c, j)
        self.captions.add(bucket, c > 0, 1)
        self.judged.add(bucket, j, len(row["verdicts"]))
        unverifiable = sum(verdict["decision"] == "unverifiable" for verdict in row["verdicts"])
        self.unverifiable.add(bucket, unverifiable, len(row["verdicts"]))
        unasked = sum(not verdict.get("asked", True) for verdict in row["verdicts"])
        self.never_asked.add(bucket, unasked, len(row["verdicts"]))
        if covered := row.get("coverage"):
            self.letters.add(bucket, covered["letters_read"], covered["letters"])
            self.nouns.add(bucket, covered["nouns_read"], covered["nouns"])
        self.with_contradiction += c > 0
        self.edited += row["corrected"] != row["caption"]
        self.released += not row.get("withheld")
        self._add_omissions(row, bucket)
        self.words += len(row["caption"].split())
        self.words_kept += len(row["corrected"].split())

    def merge(self, other: Tally) -> None:
        """Add the tally of other rows. The watch for shifts is not merged, because it depends on the order of rows."""
        for name, value in vars(other).items():
            if isinstance(value, int):
                setattr(self, name, getattr(self, name) + value)
            elif isinstance(value, Sums):
                getattr(self, name).merge(value)
            elif isinstance(value, Counter):
                getattr(self, name).update(value)
            elif name in _COUNTERS:
                for key, counts in value.items():
                    getattr(self, name).setdefault(key, Counter()).update(counts)
            elif name in _SUMS_BY_NAME:
                for key, sums in value.items():
                    getattr(self, name)[key].merge(sums)

    def to_dict(self) -> JsonObject:
        """All sums as JSON values, without the watch for shifts."""
        fields: JsonObject = {}
        for name, value in vars(self).items():
            if name in _SUMS_BY_NAME:
                fields[name] = {key: _listed(sums) for key, sums in value.items()}
            elif name != "watch":
                fields[name] = _listed(value) if isinstance(value, Sums) else value
        return fields

    @classmethod
    def from_dict(cls, fields: JsonObject) -> Tally:
        """The tally that `to_dict` wrote."""
        tally = cls()
        for name, value in fields.items():
            if name in _SUMS_BY_NAME:
                getattr(tally, name).update({key: _sums(listed) for key, listed in value.items()})
            elif name in _COUNTERS:
                getattr(tally, name).update({key: Counter(counts) for key, counts in value.items()})
            elif isinstance(value, int):
                setattr(tally, name, value)
            else:
                setattr(tally, name, _sums(value) if isinstance(value, list) else Counter(value))
        return tally

    def _add_omissions(self, row: JsonObject, bucket: int) -> None:
        if row.get("omitted") is None:
            return
        omitted = {one["name"] for one in row["omitted"]}
        named = supported_labels(row) - omitted
        self.with_omission += bool(omitted)
        self.omissions.add(bucket, len(omitted), len(omitted) + len(named))
        for label in omitted | named:
            self.omissions_of[label].add(bucket, label in omitted, 1)

    def summary(self, settings: Mapping[str, object]) -> JsonObject:
        """The summary as JSON values; `settings` is the manifest of the run."""
        audited = self.rows - self.skipped.total()
        claims = sum(self.by_kind.values(), Counter[str]())
        return {
            "schema": SCHEMA,
            "settings": {name: without_scores(value) for name, value in settings.items()},
            **(
                {"promise": self._promise(cast(JsonObject, settings["policy"]), audited)}
                if "policy" in settings
                else {}
            ),
            "rows": self.rows,
            "audited": audited,
            "skipped": dict(sorted(self.skipped.items())),
            "captions_with_contradictions": self.with_contradiction,
            "captions_edited": self.edited,
            "captions_with_omissions": self.with_omission,
            "words": {"before": self.words, "after": self.words_kept},
            "claims": {decision: claims[decision] for decision in DECISIONS},
            "rates": {
                "hallucination_rate": self.claims.rate(),
                "caption_rate": self.captions.rate(),
                "verifiable": self.judged.rate(),
                "omission_rate": self.omissions.rate(),
                "text_read": self.letters.rate(),
                "nouns_read": self.nouns.rate(),
                "unverifiable": self.unverifiable.rate(),
                "never_asked": self.never_asked.rate(),
            },
            "by_kind": {kind: _with_rate(n, self.of_kind[kind]) for kind, n in sorted(self.by_kind.items())},
            "by_label": {label: self._of_label(label) for label in sorted({*self.by_label, *self.omissions_of})},
        }

    def _of_label(self, label: str) -> JsonObject:
        rate = self.omissions_of[label].rate()
        omitted = sum(hits for hits, _ in self.omissions_of[label].buckets.values())
        counts = self.by_label.get(label, Counter())
        return {**_with_rate(counts, self.of_label[label]), "omitted": omitted, "omission_rate": rate}

    def _promise(self, policy: JsonObject, audited: int) -> JsonObject:
        """The promise on the released captions, and the number of released captions."""
        return {
            "promise": policy["promise"],
            "rests_on": policy["rests_on"],
            "released": self.released,
            "withheld": audited - self.released,
            **({"shift": self.watch.result()} if self.watch is not None else {}),
        }


_COUNTERS, _SUMS_BY_NAME = ("by_kind", "by_label"), ("of_kind", "of_label", "omissions_of")
"""Names of the attributes of a tally that hold counters, and of those that hold sums."""


def _listed(sums: Sums) -> list[tuple[int, int, int]]:
    """(bucket, hits, trials) for each bucket of sums."""
    return [(bucket, hits, trials) for bucket, (hits, trials) in sums.buckets.items()]


def _sums(listed: Iterable[tuple[int, int, int]]) -> Sums:
    sums = Sums()
    for bucket, hits, trials in listed:
        sums.add(bucket, hits, trials)
    return sums


def _with_rate(counts: Mapping[str, int], sums: Sums) -> JsonObject:
    return {decision: counts[decision] for decision in DECISIONS} | {"rate": sums.rate()}


def supported_labels(row: JsonObject) -> set[str]:
    """The labels of the objects that a caption names and a detector found."""
    claims = [row["claims"][v["claim"]] for v in row["verdicts"] if v["decision"] == "supported"]
    return {c.get("category") or c["name"] for c in claims if c["kind"] == "existence" and "polarity" not in c}


def thresholds_dict(thresholds: Thresholds) -> JsonObject:
    """Thresholds as JSON values, for a manifest."""
    labels = {name: list(pair) for name, pair in sorted(thresholds.labels.items())}
    return {"high": thresholds.high, "low": thresholds.low, "labels": labels}
