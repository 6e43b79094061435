"""Turn verdicts into the smallest edits that leave grammatical sentences."""

from halluguard.correction.rewriting.llm_rewriter import ChatModel, Proposal, Proposer, propose
from halluguard.correction.rewriting.rewrite import FALLBACK, Style, rewrite, rewrite_many

__all__ = ["FALLBACK", "ChatModel", "Proposal", "Proposer", "Style", "propose", "rewrite", "rewrite_many"]
