"""Find the thoughts that reasoning models write before an answer, in the dialects of their chat templates.

    <think> ... </think>  <thinking>  <thought>  <reasoning>  <reflection>  <scratchpad>  <seed:think>
    ◁think▷ ... ◁/think▷                                     Kimi-VL
    [THINK] ... [/THINK]                                     Magistral, Ministral
    <|begin_of_thought|> ... <|end_of_thought|>              OpenThinker, Sky-T1
    <|channel|>analysis<|message|> ... <|end|>               gpt-oss
    <unused94>thought ... <unused95>, <|channel>thought ...  MedGemma, Gemma

Templates often put the opening tag into the prompt, so a closing tag without an opening one ends a thought that began
with the text. A thought that is not closed lasts to the end.
"""

from __future__ import annotations

import re

_NAMES = r"(?:seed:)?(?:think|thinking|thoughts?|reasoning|reflection|scratchpad|inner_monologue|analysis)"
_TAG = re.compile(
    rf"(?P<open><{_NAMES}>|◁think▷|\[THINK\]|<\|begin_of_thought\|>|<\|thinking\|>|<unused94>|"
    r"<\|channel\|>(?:analysis|commentary)<\|message\|>|<\|channel>thought)|"
    rf"(?P<close></{_NAMES}>|◁/think▷|\[/THINK\]|<\|end_of_thought\|>|<\|/thinking\|>|<unused95>|<channel\|>|"
    r"<\|end\|>(?:<\|start\|>assistant)?(?:<\|channel\|>final<\|message\|>)?)",
    re.IGNORECASE,
)


def thoughts(text: str) -> list[tuple[int, int]]:
    """Character ranges of the thoughts in a text, including their tags, in reading order.

    >>> [("<think>A cat?</think>A dog.")[start:end] for start, end in thoughts("<think>A cat?</think>A dog.")]
    ['<think>A cat?</think>']
    """
    if "<" not in text and "◁" not in text and "[" not in text:
        return []
    ranges: list[tuple[int, int]] = []
    depth = start = 0
    for tag in _TAG.finditer(text):
        if tag["open"]:
            start = start if depth else tag.start()
            depth += 1
        elif depth:
            depth -= 1
            if not depth:
                ranges.append((start, tag.end()))
        elif not tag["close"].startswith("<|end|>"):
            ranges = [(0, tag.end())]  # the thought began with the text
    if depth:
        ranges.append((start, len(text)))
    return ranges


def without_tags(thought: str) -> str:
    """A thought without the tags around it.

    >>> without_tags("<think>A cat?</think>")
    'A cat?'
    """
    return _TAG.sub("", thought).strip()
