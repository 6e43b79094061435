"""Read an answer: its language, its parse, the boxes written into it."""

from halluguard.correction.text.language import check_english
from halluguard.correction.text.parse import MAX_CHARS, PIPELINES, Parse, parse_many, pipeline, readable

__all__ = ["MAX_CHARS", "PIPELINES", "Parse", "check_english", "parse_many", "pipeline", "readable"]
