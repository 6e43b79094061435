r"""Find the final answer of a model: its text without the reasoning, tags, boxes and JSON around it.

The parsers of the benchmarks were written for answers of a few words. They may take a yes from a thought, or read
`**No**` as yes. `final_answer` is the step before every parser. It acts only on

    a thought (`thinking.py`)   <think>No dog? There is one.</think>Yes
    a tag around the answer     <answer>Yes</answer>  <|begin_of_box|>Yes<|end_of_box|>
    a box                       \boxed{Yes}  \boxed{\text{Yes}}
    a JSON object, bare or not  {"answer": "yes"}  {"answer": true}
    emphasis around yes or no   **Yes**  _No._  `No`

and returns every other answer unchanged, so the parsers still read the published answers as the official codes do. Of
several tags or boxes the last one counts. An answer that is all reasoning, or whose thought never ends, has no final
answer: the result is the empty string, and the scores count it as unread instead of guessing.
"""

from __future__ import annotations

import json
import re
from typing import Literal, get_args

from halluguard.errors import SettingsError
from halluguard.thinking import thoughts

Forms = Literal["final", "raw"]
"""Whether answers pass `final_answer` before the parser ("final"), or are parsed as they are ("raw")."""

_KEYS = ("final_answer", "answer", "prediction", "response", "result", "output", "verdict")
_WORDS = {True: "Yes", False: "No"}
_BOXES = re.compile(
    r"<answer>(?P<tag>.*?)(?:</answer>|\Z)|<\|begin_of_box\|>(?P<glm>.*?)(?:<\|end_of_box\|>|\Z)|"
    r"\\boxed\s*\{(?P<latex>(?:[^{}]|\{[^{}]*\})*)\}",
    re.IGNORECASE | re.DOTALL,
)
_LATEX_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}")
_OBJECT = re.compile(r"\{[^{}]*\}")
_EMPHASIS = re.compile(r"(\*{1,3}|_{1,2}|`)((?:yes|no)\b[.,!]?)\1", re.IGNORECASE)


def final_answer(answer: str) -> str:
    r"""The answer without reasoning, tags, boxes, JSON and emphasis; unchanged where it has none of them.

    >>> final_answer("<think>No cat, but a dog.</think>Yes, a dog."), final_answer('{"answer": "yes"}')
    ('Yes, a dog.', 'yes')
    >>> final_answer(r"So \boxed{\text{No}}"), final_answer("**No**, there is none."), final_answer("Yes. ")
    ('No', 'No, there is none.', 'Yes. ')
    >>> final_answer("<think>Is there a dog? No, I")
    ''
    """
    text = without_thoughts(answer)
    boxes = [box for box in _BOXES.finditer(text) if box[box.lastgroup or 0].strip()]
    if boxes:
        text = _LATEX_TEXT.sub(r"\1", boxes[-1][boxes[-1].lastgroup or 0]).strip()
    text = _from_json(text)
    return _EMPHASIS.sub(r"\2", text)


def without_thoughts(answer: str) -> str:
    """The answer without its reasoning; unchanged where it has none.

    >>> without_thoughts("[THINK]A cat?[/THINK] A dog."), without_thoughts(" A dog.")
    ('A dog.', ' A dog.')
    """
    ranges = thoughts(answer)
    if not ranges:
        return answer
    kept, at = [], 0
    for start, end in ranges:
        kept.append(answer[at:start])
        at = end
    return "".join([*kept, answer[at:]]).strip()


def check_forms(forms: str) -> None:
    """Raise a SettingsError for an unknown value of `Forms`."""
    if forms not in get_args(Forms):
        raise SettingsError(f"forms must be one of {get_args(Forms)}, got {forms!r}; choose one")


def _from_json(text: str) -> str:
    """The answer in the last JSON object with an answer; the text itself if there is none."""
    for candidate in [text.strip(), *reversed(_OBJECT.findall(text))] if "{" in text else []:
        try:
            value = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        for name in _KEYS if isinstance(value, dict) else ():
            answer = value.get(name)
            if isinstance(answer, bool):
                return _WORDS[answer]
            if isinstance(answer, str):
                return answer
    return text
