"""Benchmarks of hallucination, scored as their authors score them: needs only numpy, loads no model.

chair   objects a caption invents          pope      yes/no questions about objects
amber   both, on AMBER's images            mme       existence, count, position, color
hallusionbench, mmhal, cceval              scored with a judge of yours
shams   baselines that do not look: a method must beat them
stats   intervals over images, paired comparison; score: the record all of them give, with its signature
"""
