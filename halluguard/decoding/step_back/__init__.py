"""Step back while writing: a sentence that a judge contradicts is taken back and written in another way.

    write; at each sentence end the judge reads the finished sentence
    a word is contradicted, returns are left    go back to the place where the word begins, and bar its token there
    a word is contradicted, none are left       restore the first draft, which correction edits afterwards
    nothing is contradicted                     release the sentence: no later return goes back before its end

A judge is any callable; `halluguard.correction.sentence_judge` makes one from a detector, and `Guard(step_back=True)`
joins the two. REVERSE (Wu et al., NeurIPS 2025, arXiv 2504.13169) goes back to where a trained verifier doubts; here
nothing is trained, and the expert is any detector.

Best of K (`best_of.py`) runs on the same engine: of several drafts of each sentence, the one that a scorer prefers is
kept.
"""

from halluguard.decoding.step_back.best_of import BestOf, ClaimScore, Scorer, choose
from halluguard.decoding.step_back.continuation import continued
from halluguard.decoding.step_back.model_calls import ModelCalls
from halluguard.decoding.step_back.settings import Judge, JudgedWord, Search, StepBack
from halluguard.decoding.step_back.writer import Written, write

__all__ = [
    "BestOf",
    "ClaimScore",
    "Judge",
    "JudgedWord",
    "ModelCalls",
    "Scorer",
    "Search",
    "StepBack",
    "Written",
    "choose",
    "continued",
    "write",
]
