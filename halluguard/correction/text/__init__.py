"""Read an answer: its blocks, its language, its parse, the boxes written into it."""

from halluguard.correction.text.document import Block, Document, Markup
from halluguard.correction.text.parse import Parse
from halluguard.correction.text.pipeline import PIPELINES, pipeline
from halluguard.correction.text.reading import MAX_CHARS, parse_many, read_document, readable

__all__ = [
    "MAX_CHARS",
    "PIPELINES",
    "Block",
    "Document",
    "Markup",
    "Parse",
    "parse_many",
    "pipeline",
    "read_document",
    "readable",
]
