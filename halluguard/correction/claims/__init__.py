"""Read the claims of an answer: what is there, how many, with which attributes, in which relations."""

from halluguard.correction.claims.extract import extract, extract_many, from_parse, parses
from halluguard.correction.claims.mentions import Mention
from halluguard.correction.claims.predicates import ParsedAnswer

__all__ = ["Mention", "ParsedAnswer", "extract", "extract_many", "from_parse", "parses"]
