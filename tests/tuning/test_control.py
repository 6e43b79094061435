"""Training the controller: it alone learns, and the model comes out as it went in."""

import pytest
import torch

pytest.importorskip("trl")

from halluguard import InputError
from halluguard.controller import Controller
from halluguard.tuning import PreferenceRow
from halluguard.tuning.control import control_rows, train_controller

from .conftest import noise

GROUNDED = "The image shows a kitchen with a bowl."
FREE = "The image shows a kitchen with a bowl and two spoons."


def rows():
    return control_rows([PreferenceRow((noise(i),), "Describe the image.", GROUNDED, FREE) for i in range(8)])


def asked(processor):
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Describe the image."}]}]
    text = processor.apply_chat_template(chat, add_generation_prompt=True)
    return processor(text=[text + " " + GROUNDED[:-1]], images=[[noise(0)]], return_tensors="pt")


def test_each_caption_gets_its_side():
    assert [(row.completion, epsilon) for row, epsilon in rows()[:2]] == [(GROUNDED, -1.0), (FREE, 1.0)]


def test_the_controller_learns_and_the_model_stays(model, processor, tmp_path):
    inputs = asked(processor)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        plain = model.eval()(**inputs).logits
    controller = Controller.of(model, rank=8)
    facts = train_controller(
        model, processor, rows(), tmp_path / "knob.safetensors", controller=controller,
        learning_rate=0.05, epochs=10, batch_size=8, device="cpu",
    )  # fmt: skip
    assert facts["last loss"] < facts["first loss"]
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert "forward" not in model.__dict__
    loaded = Controller.load(tmp_path / "knob.safetensors")
    assert loaded.trained["rows"] == 16
    found = {}
    for epsilon in (-1.0, 0.0, 1.0):
        with torch.no_grad(), loaded.attached(model, epsilon):
            found[epsilon] = model(**inputs).logits
    assert torch.equal(found[0.0], plain), "epsilon 0 is the base, bit for bit"
    goes_on, stops = (processor.tokenizer.convert_tokens_to_ids(token) for token in ("and", "."))
    lean = {epsilon: float(logits[0, -1, goes_on] - logits[0, -1, stops]) for epsilon, logits in found.items()}
    assert lean[-1.0] < lean[0.0] < lean[1.0], "the sides are the wrong way round"


def test_one_side_alone_is_refused(model, processor, tmp_path):
    with pytest.raises(InputError, match="two or more epsilons"):
        train_controller(
            model, processor, rows()[::2], tmp_path / "k.safetensors", controller=Controller.of(model, rank=8)
        )
