"""Terms that preference training adds to TRL's DPO: those of mDPO, and the token weights of DDPO.

    m(y | I)   = sum over the tokens of y of  log pi(y | x, I) - log pi_ref(y | x, I)
    visual     = -log sigmoid(beta [m(yw | I+) - m(yw | I-)])         the same answer fits its own image better
    anchor     = -log sigmoid(beta m(yw | I+) - delta)                the chosen answer does not become less likely
    score(y)   = sum over unchanged tokens log p + gamma sum over changed tokens log p

yw is the chosen answer, I+ its image, I- the negative image. At the first step pi equals pi_ref and every m is 0:
visual = log 2, anchor = log(1 + exp(delta)).

mDPO: Wang et al. 2024, arXiv 2406.11839, equations 4 to 6, code luka-group/mDPO. There the crop is drawn inside the
model's forward, so that policy and reference see two different negatives; here it is drawn once.
DDPO: Yu et al. 2023 (RLHF-V), arXiv 2312.00849, equation 3, code RLHF-V/RLHF-V. Its code weights a gap only where both
sides have words; here a pure insertion or deletion is weighted too, since that is how objects are invented. The paper
divides by the number of tokens, the released run does not; neither do we.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

from torch import Tensor
from torch.nn.functional import logsigmoid


def visual_term(chosen: Tensor, chosen_negative: Tensor, beta: float) -> Tensor:
    """-log sigmoid(beta (m+ - m-)), (B,), of the log-ratios under the image and under its negative, (B,) each."""
    return -logsigmoid(beta * (chosen - chosen_negative))


def anchor_term(chosen: Tensor, beta: float, delta: float) -> Tensor:
    """-log sigmoid(beta m - delta), (B,), of the log-ratios of the chosen answers, (B,)."""
    return -logsigmoid(beta * chosen - delta)


def segment_weights(
    chosen: Sequence[int], rejected: Sequence[int], gamma: float, shortest: int = 3
) -> tuple[list[float], list[float]]:
    """The weight of each token of two answers: `gamma` where they differ, 1 where they agree.

    Args:
        chosen, rejected: token ids of the two answers.
        gamma: weight of changed tokens, > 0. The paper uses 5, the released command 1.1.
        shortest: shortest run of equal tokens that counts as agreement, as in the official code.

    >>> segment_weights([5, 6, 7, 8, 1], [5, 6, 7, 9, 9, 1], gamma=2.0, shortest=1)
    ([1.0, 1.0, 1.0, 2.0, 1.0], [1.0, 1.0, 1.0, 2.0, 2.0, 1.0])
    """
    weights = [gamma] * len(chosen), [gamma] * len(rejected)
    for block in SequenceMatcher(None, list(chosen), list(rejected), autojunk=False).get_matching_blocks():
        if block.size >= shortest:
            weights[0][block.a : block.a + block.size] = [1.0] * block.size
            weights[1][block.b : block.b + block.size] = [1.0] * block.size
    return weights
