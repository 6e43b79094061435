"""Benchmarks of hallucination, scored as their authors score them. Needs numpy and scipy, and loads no model.

chair                       objects that captions invent       (its synonyms: `vocabulary`, `chair_synonyms.json`)
pope                        yes/no questions about objects     (the questions: `pope_questions`)
pope_labels                 the same answers under corrected labels (RePOPE), and the change due to the labels alone
amber                       captions and yes/no questions, on AMBER's images
mme                         existence, count, position, color
dash_b                      yes/no questions on images that provoke a yes
humblebench                 multiple choice with "none of the above"
mcq_pope                    POPE's objects as multiple choice
haloquest                   false premises and more, the part that needs no judge (the rest with one that you provide)
hallusionbench, mmhal, cceval    scored with a judge model that you provide
open_vocabulary             every word of captions against reference captions (WordNet: `word_relations`)
baselines                   changes to plain output that ignore the image; a method must beat them
stats                       intervals, paired comparison, significance

How to add a metric: write one module in this folder, with

- `values(totals)`, which computes the metric's values from counts summed over images; it gets and returns arrays, so
  that the bootstrap can call it once for all resamples (`stats.ratio` divides safely);
- `score(...)`, which counts every image and returns `from_counts(<the module's name>, values, ids, columns, settings)`.

`from_counts` adds intervals, the signature and the JSON form, and `compare` finds `values` by the module's name. A
script in `benchmarks/` reads the files and prints the score; a test compares the values with the authors' own code.
"""

from halluguard.metrics import (
    amber,
    baselines,
    cceval,
    chair,
    dash_b,
    hallusionbench,
    haloquest,
    humblebench,
    mcq_pope,
    mme,
    mmhal,
    open_vocabulary,
    pope,
    pope_labels,
    stats,
)
from halluguard.metrics.score import Score, compare, from_counts
from halluguard.metrics.stats import UndefinedScoreWarning

__all__ = [
    "Score",
    "UndefinedScoreWarning",
    "amber",
    "baselines",
    "cceval",
    "chair",
    "compare",
    "dash_b",
    "from_counts",
    "hallusionbench",
    "haloquest",
    "humblebench",
    "mcq_pope",
    "mme",
    "mmhal",
    "open_vocabulary",
    "pope",
    "pope_labels",
    "stats",
]
