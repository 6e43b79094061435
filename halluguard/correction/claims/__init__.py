"""Read the claims of an answer: what is there, how many, with which attributes, in which relations."""

from halluguard.correction.claims.coverage import Coverage, coverage
from halluguard.correction.claims.extract import extract, extract_many, from_parse, parses
from halluguard.correction.claims.mentions import Mention
from halluguard.correction.claims.predicates import ParsedAnswer

__all__ = ["Coverage", "Mention", "ParsedAnswer", "coverage", "extract", "extract_many", "from_parse", "parses"]
