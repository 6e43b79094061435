"""Guard joins the layers and hides nothing: each answer says what was drafted, checked and changed."""

import contextlib
import copy as copy_module
import inspect
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from PIL import Image

from halluguard import Guard, ImageError, InputError, SettingsError, UnsupportedModelError, sandbox
from halluguard.correction.verification import Thresholds
from halluguard.decoding import VCD, Imagination, get_method
from halluguard.detectors import Colours
from halluguard.detectors.zero_shot import ZeroShotDetector
from halluguard.prompting.drafting import Draft, Drafter
from halluguard.records import Box
from halluguard.sandbox.models import build_mllm, build_processor


class Nothing:
    """An expert that covers every phrase and finds none of them."""

    name, needs_image = "nothing", True

    def covers(self, phrase):
        return True

    def detect(self, images, phrases):
        return [[] for _ in images]


class Everything(Nothing):
    """A detector that finds every phrase, with a box as large as the image."""

    name = "everything"

    def detect(self, images, phrases):
        return [
            [Box(phrase, 0.9, (0, 0, *image.size), i) for i, phrase in enumerate(asked)]
            for image, asked in zip(images, phrases, strict=True)
        ]


@pytest.fixture(scope="module")
def parts():
    torch.manual_seed(0)
    processor = build_processor()
    return build_mllm(processor).eval(), processor


@pytest.fixture
def saying(parts, monkeypatch):
    """A Guard whose model is made to draft a given text: the layers around it are real."""

    def make(text, **settings):
        guard = Guard(*parts, **settings)
        monkeypatch.setattr(Drafter, "drafts", lambda _, conversations, size=None: [[Draft(text)]] * len(conversations))
        return guard

    return make


PICTURE = Image.effect_noise((40, 30), 60)
RGB = PICTURE.convert("RGB")


def test_without_layers_the_answer_is_the_model_s_own(parts):
    model, processor = parts
    guard = Guard(model, processor)
    answer = guard(PICTURE, max_new_tokens=8)
    inputs = guard.inputs([PICTURE.convert("RGB")], ["Describe the image."])
    plain = model.generate(**inputs, max_new_tokens=8)[0, inputs["input_ids"].shape[1] :]
    assert answer.draft == answer.text == processor.decode(plain, skip_special_tokens=True).strip()
    assert answer.claims == answer.verdicts == answer.edits == ()


def test_a_batch_equals_its_parts(parts):
    guard = Guard(*parts)
    pictures = [PICTURE, Image.new("RGB", (9, 50), "red")]
    prompts = ["Describe the image.", "Is there a dog in the image?"]
    together = guard.batch(pictures, prompts, max_new_tokens=6)
    apart = [guard(picture, prompt, max_new_tokens=6) for picture, prompt in zip(pictures, prompts, strict=True)]
    assert [answer.draft for answer in together] == [answer.draft for answer in apart]


def test_imagination_zero_is_plain_and_the_knob_is_recorded(parts):
    guard = Guard(*parts)
    plain, zero = guard(PICTURE, max_new_tokens=6), guard(PICTURE, imagination=0.0, max_new_tokens=6)
    assert plain.draft == zero.draft
    assert "Imagination" in guard(PICTURE, imagination=-0.5, max_new_tokens=2).settings["decoding"]


def test_sampling_repeats_with_its_seed_and_leaves_the_global_state(parts):
    guard = Guard(*parts)
    state = torch.random.get_rng_state()
    first, again = (guard(PICTURE, do_sample=True, seed=3, max_new_tokens=8).draft for _ in range(2))
    assert first == again
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_seed_gives_the_same_answer_in_every_thread(parts):
    """With the global random state, threads drew from each other's numbers."""
    guard = Guard(*parts)

    def sample(seed):
        return guard.drafts(
            [RGB], ["Describe the image."], do_sample=True, seed=seed, temperature=5.0, max_new_tokens=20
        )

    alone = [sample(5), sample(6)]
    assert alone[0] != alone[1]
    stop = threading.Event()

    def disturb():
        while not stop.is_set():
            torch.rand(1000)

    noise = threading.Thread(target=disturb)
    noise.start()
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(sample, [5, 6] * 4))
    stop.set()
    noise.join()
    assert together == alone * 4


@pytest.mark.parametrize("seed", [2**70, 1.5, float("nan"), "5", [5]])
def test_a_seed_that_is_no_whole_number_is_refused(seed, parts):
    with pytest.raises(SettingsError, match="whole number"):
        Guard(*parts)(sandbox.scenes(1)[0].image, seed=seed, do_sample=True, max_new_tokens=2)


def test_a_seed_draws_as_the_global_state_would(parts):
    guard = Guard(*parts)
    settings = {"do_sample": True, "temperature": 5.0, "max_new_tokens": 20}
    torch.manual_seed(7)
    expected = guard.drafts([RGB], ["Describe the image."], **settings)
    assert guard.drafts([RGB], ["Describe the image."], seed=7, **settings) == expected


def test_a_guard_can_be_pickled_and_copied_before_and_after_it_answered(parts):
    guard = Guard(*parts, detector=Everything(), decoding="vcd", properties=[Colours()], style="hedge")
    for _ in range(2):
        draft = guard.drafts([RGB], ["Describe the image."], max_new_tokens=6)
        for copy in (pickle.loads(pickle.dumps(guard)), copy_module.deepcopy(guard)):
            assert copy.drafts([RGB], ["Describe the image."], max_new_tokens=6) == draft
            assert copy.model is not guard.model
            assert (copy.decoding, copy.style) == (guard.decoding, "hedge")
    assert guard.model(**guard.inputs([RGB], ["Why?"]), output_hidden_states=True).hidden_states


def test_loaded_detectors_can_be_pickled():
    detector = ZeroShotDetector(*sandbox.load_detector())
    copy = pickle.loads(pickle.dumps(detector))
    assert copy.detect([RGB], [["dog"]]) == detector.detect([RGB], [["dog"]])


def test_a_method_goes_by_its_name_in_any_case(parts):
    assert Guard(*parts, decoding="vcd").decoding == VCD()
    assert Guard(*parts, decoding="VCD:pope script").decoding == get_method("VCD:pope script")
    assert "VCD" in Guard(*parts)(PICTURE, decoding="vcd", max_new_tokens=2).settings["decoding"]


def test_a_guard_says_what_it_is_made_of(parts):
    text = repr(Guard(*parts, detector=Everything(), decoding="vcd"))
    assert type(parts[0]).__name__ in text
    assert "detector='everything'" in text
    assert "VCD(alpha=1.0" in text
    assert "\n" not in text


def test_the_arguments_of_loading_reach_transformers(monkeypatch, tmp_path):
    from halluguard import checkpoints

    loads = []
    load = checkpoints.load_pretrained
    monkeypatch.setattr(
        checkpoints, "load_pretrained", lambda loader, name, **o: loads.append(o) or load(loader, name, **o)
    )
    guard = Guard.from_pretrained(
        sandbox.MLLM, dtype=torch.float64, attn_implementation="eager", revision="main", cache_dir=tmp_path, token="t",
        processor_kwargs={"padding_side": "left"}, device="cpu", decoding="vcd",
    )  # fmt: skip
    assert guard.model.dtype == torch.float64
    assert guard.model.config._attn_implementation == "eager"
    assert guard.decoding == VCD()
    for options in loads:
        assert (options["revision"], options["cache_dir"], options["token"]) == ("main", tmp_path, "t")
    assert loads[0]["padding_side"] == "left"
    given = {"device_map": "auto", "max_memory": {"cpu": "1GiB"}, "quantization_config": {"quant_method": "x"}}
    monkeypatch.setattr(checkpoints, "load_pretrained", lambda loader, name, **o: loads.append(o) or load(loader, name))
    with contextlib.suppress(Exception):
        Guard.from_pretrained(sandbox.MLLM, **given)
    assert given.items() <= loads[-1].items()
    with pytest.raises(SettingsError, match="device or device_map"):
        Guard.from_pretrained(sandbox.MLLM, device="cpu", device_map="auto")


def test_every_setting_of_the_class_can_be_given_where_the_model_is_loaded():
    thresholds = Thresholds(high=0.7, low=0.1)
    guard = Guard.from_pretrained(
        sandbox.MLLM, detector=Everything(), thresholds=thresholds, style="hedge", properties=Colours(),
        complete=["dog"], device="cpu",
    )  # fmt: skip
    assert guard.thresholds == thresholds
    assert (guard.style, guard.complete) == ("hedge", ["dog"])
    assert isinstance(guard.properties, Colours)
    settings = inspect.signature(Guard.__init__).parameters.keys() - {"self", "model", "processor"}
    assert settings <= inspect.signature(Guard.from_pretrained).parameters.keys()


def test_an_expert_removes_what_it_does_not_find(saying):
    answer = saying("There is a dog. The scene looks calm.", detector=Nothing())(PICTURE)
    assert "dog" in answer.draft
    assert "dog" not in answer.text
    assert {verdict.decision for verdict in answer.verdicts} == {"contradicted"}
    assert answer.edits[0].verdicts


def test_an_expert_that_finds_all_changes_nothing(saying):
    answer = saying("There is a dog. The scene looks calm.", detector=Everything())(PICTURE)
    assert answer.text == answer.draft
    assert answer.verdicts[0].evidence[0].xyxy == (0, 0, 40, 30)


def test_an_empty_draft_stays_empty(saying):
    answer = saying("", detector=Nothing())(PICTURE)
    assert answer.text == answer.draft == ""


def test_margins_rank_yes_against_no(parts):
    model, processor = parts
    guard = Guard(model, processor)
    (margin,) = guard.margins([PICTURE], "Is there a dog in the image?")
    inputs = guard.inputs([PICTURE.convert("RGB")], ["Is there a dog in the image?"])
    logits = model(**inputs).logits[0, -1]
    ids = [[processor.tokenizer.convert_tokens_to_ids(w) for w in words] for words in (("yes", "Yes"), ("no", "No"))]
    assert margin == pytest.approx(float(logits[ids[0]].logsumexp(0) - logits[ids[1]].logsumexp(0)), abs=1e-5)
    assert guard.margins([PICTURE], "Is there a dog in the image?", decoding=Imagination(0.0)) == pytest.approx(
        [margin], abs=1e-5
    )


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda g: g("nowhere.png"), ImageError, "no image at"),
        (lambda g: g(PICTURE, "  "), InputError, "a prompt with words"),
        (lambda g: g(PICTURE, imagination=2.0), SettingsError, r"\[-1, 1\]"),
        (lambda g: g(PICTURE, imagination=0.5, decoding=Imagination(0.5)), SettingsError, "got both"),
        (lambda g: g(PICTURE, decoding="vdc"), SettingsError, "VCD"),
        (lambda g: g(PICTURE, decoding=0.5), SettingsError, "VCD"),
        (lambda g: g.batch([PICTURE], ["a", "b"]), SettingsError, "2 for 1"),
    ],
)
def test_bad_input_is_said_in_one_sentence(parts, call, error, words):
    with pytest.raises(error, match=words) as caught:
        call(Guard(*parts))
    assert "\n" not in str(caught.value)


def test_a_model_without_pictures_is_refused(parts, tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    model, processor = parts
    with pytest.raises(UnsupportedModelError, match="takes images"):
        Guard(model, processor.tokenizer)
    with pytest.raises(UnsupportedModelError, match="writes its answer token by token"):
        Guard(model.model, processor)
    LlamaForCausalLM(
        LlamaConfig(vocab_size=20, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    ).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match="image-text-to-text"):
        Guard.from_pretrained(tmp_path)


def test_a_tokenizer_that_cannot_pad_reads_prompts_one_by_one(parts):
    model, processor = parts
    prompts, settings = ["Describe the image.", "Is there a dog?"], {"max_new_tokens": 6}
    together = Guard(model, processor).drafts([PICTURE] * 2, prompts, **settings)
    unpadded = copy_module.deepcopy(processor)
    unpadded.tokenizer.pad_token = None
    assert Guard(model, unpadded).drafts([PICTURE] * 2, prompts, **settings) == together


def test_an_error_of_the_model_s_own_code_is_said_in_one_sentence(parts):
    model, processor = parts
    other = copy_module.deepcopy(processor)
    other.image_processor.size = {"height": 56, "width": 56}  # the model reads larger images
    with pytest.raises(UnsupportedModelError, match="in plain generation") as caught:
        Guard(model, other).drafts([PICTURE], ["Describe the image."])
    assert "\n" not in str(caught.value)


def test_experts_on_properties_and_the_style_reach_the_correction(saying):
    """A red image that one dog fills: the colour expert corrects its colour, and the cat is hedged or deleted."""
    from halluguard.detectors.colour import Colours

    class Sees:
        name, needs_image, thresholds = "sees", True, (0.5, 0.3)

        def covers(self, phrase):
            return True

        def detect(self, images, phrases):
            size = images[0].size
            return [[Box("dog", 0.9, (0, 0, *size), words.index("dog"))] if "dog" in words else [] for words in phrases]

    red = Image.new("RGB", (64, 64), (200, 20, 20))
    guard = saying("There is a blue dog. There is a cat.", detector=Sees(), properties=[Colours()])
    assert guard(red).text == "There is a red dog."
    plain = saying("There is a blue dog.", detector=Sees())
    assert plain(red).text == "There is a blue dog.", "without such an expert a colour cannot be judged"
    hedged = saying("There is a dog. There is a cat.", detector=Sees(), style="hedge")
    assert "dog" in hedged(red).text
    assert "cat" in hedged(red).text
    assert hedged(red).text != hedged(red).draft
