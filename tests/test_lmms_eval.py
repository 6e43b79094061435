"""The adapter for lmms-eval answers its requests as the Guard does; the page shows the code of the example."""

import importlib.util
import re
import sys
import types
from pathlib import Path

import pytest

from halluguard import Guard, sandbox

ROOT = Path(__file__).parents[1]


class StandIn:
    """The members that `lmms_eval.api.model.lmms` gives its subclasses, where lmms-eval is not installed."""

    def __init__(self):
        self.task_dict = {}
        self.cache_hook = types.SimpleNamespace(add_partial=lambda *request: None)


@pytest.fixture(scope="module")
def example():
    """The module of the example, with lmms-eval's own base class where it is installed."""
    path = ROOT / "examples" / "lmms_eval_model.py"
    spec = importlib.util.spec_from_file_location("lmms_eval_model", path)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        try:
            importlib.import_module("lmms_eval.api.model")
        except ImportError:
            for name in ("lmms_eval", "lmms_eval.api", "lmms_eval.api.model"):
                patch.setitem(sys.modules, name, types.ModuleType(name))
            sys.modules["lmms_eval.api.model"].lmms = StandIn
        spec.loader.exec_module(module)
    return module


def request(question, options, doc_id):
    arguments = (question, options, lambda document: [document["image"]], doc_id, "scenes", "test")
    return types.SimpleNamespace(args=arguments)


def test_requests_are_answered_as_the_guard_does(example):
    guard = Guard.from_pretrained(sandbox.MLLM, detector=sandbox.DETECTOR, device="cpu")
    scenes = sandbox.scenes(2)
    model = example.GuardModel(guard, imagination=-0.5)
    model.task_dict = {"scenes": {"test": [{"image": scene.image} for scene in scenes]}}
    texts = model.generate_until(
        [
            request("<image>\nDescribe the image.", {"max_new_tokens": 40}, 0),
            request("Describe the image.", {"max_new_tokens": 40, "until": ["."], "temperature": 0}, 1),
        ]
    )
    answers = [
        guard(scene.image, "Describe the image.", imagination=-0.5, max_new_tokens=40, do_sample=False).text
        for scene in scenes
    ]
    assert texts == [answers[0], answers[1].split(".")[0]]
    with pytest.raises(TypeError, match="tasks of lmms-eval that generate"):
        model.loglikelihood([])


def test_the_page_shows_the_code_of_the_example():
    page = (ROOT / "docs" / "lmms-eval.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n# not run: .*?\n(.*?)```", page, re.DOTALL)
    assert block.strip() in (ROOT / "examples" / "lmms_eval_model.py").read_text(encoding="utf-8")
