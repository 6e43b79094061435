"""Seed fifteen plumbing faults into tiny models of many families, and count which of them `halluguard doctor` finds.

    python benchmarks/doctor.py [families ...] [--results FILE] [--write docs/doctor.md]

Every family is a tiny random model in fp32 (`architectures.py`) with a processor made here: a word-level tokenizer with
a chat template, and pixels painted into the tensors of the family's layout. A fault is seeded where a user would make
it: in the preparation of inputs, in the running of the model, in its adapter or in its vision tower. A family that
cannot have a fault (no text, no placeholders, no positions to pass) is counted as not applicable. `--results` keeps the
verdicts, so that a run can be done in parts.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

sys.path.append(str(Path(__file__).parent))
import architectures

from halluguard import sandbox
from halluguard.decoding.engine.shared_copy import shared_copy_of
from halluguard.doctor import FAULTS, PROBES, Subject, by_generate, by_processor
from halluguard.doctor import _probed as probed
from halluguard.doctor.image_features import _towers as towers_of
from halluguard.doctor.prompts import LONG
from halluguard.doctor.recomputation import LONGER, SHORT
from halluguard.doctor.subject import QUESTIONS

Images = Sequence[Sequence[Image.Image]]
Inputs = dict[str, Any]


SIDE = 56
"""Width and height of the images that are painted into a tiny model's tensors."""

TEMPLATE = (
    "{% for message in messages %}<turn> {{ message['role'] }} "
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image> "
    "{% else %}{{ part['text'] }} {% endif %}{% endfor %}<end> {% endfor %}"
    "{% if add_generation_prompt %}<turn> assistant {% endif %}"
)


def tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer of the words that the probes use; its ids stay below those of the placeholders."""
    texts = [*QUESTIONS, LONG, SHORT, LONGER, "What does the image show? Which things are in the image?"]
    texts += ["Tell what you see.", "A dog.", "Be brief.", "user assistant system"]
    split = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    words = sorted({word for text in texts for word, _ in split.pre_tokenize_str(text)})
    special = ["<pad>", "<s>", "</s>", "<unk>", "<image>", "<turn>", "<end>"]
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*special, *words])}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.pre_tokenizer = split
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        **{"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
        additional_special_tokens=["<image>", "<turn>", "<end>"],
        padding_side="left",
    )


class TinyProcessor:
    """A processor for a tiny model: words to ids, and images painted into the family's tensors.

    Args:
        tiny: a model of `architectures.py`.
        mean, std: normalisation of pixels in [0, 1].
    """

    def __init__(self, tiny: Any, mean: float = 0.5, std: float = 0.25) -> None:
        self.tiny, self.mean, self.std = tiny, mean, std
        self.tokenizer, self.chat_template, self.image_processor = tokenizer(), TEMPLATE, self
        self.double_start = False

    def apply_chat_template(self, messages: Any, add_generation_prompt: bool = False) -> str:
        text = self.tokenizer.apply_chat_template(
            messages, chat_template=TEMPLATE, add_generation_prompt=add_generation_prompt, tokenize=False
        )
        return str(text)

    def __call__(self, images: Any, text: Sequence[str], **_: Any) -> Inputs:
        own = [one if isinstance(one, list) else [one] for one in images] if images else [[] for _ in text]
        prompts = [self.tokenizer(one, add_special_tokens=False)["input_ids"] for one in text]
        mark = self.tokenizer.convert_tokens_to_ids("<image>")
        words = [[token for token in prompt if token != mark] for prompt in prompts]
        if self.double_start:
            words = [[architectures.BOS, *one] for one in words]
        if not any(own):
            ids = architectures.left_padded([[architectures.BOS, *one] for one in words])
            return {**ids, **architectures._per_token(self.tiny.model, ids, {})}
        if any(token_count != 1 for token_count in map(len, own)) and len(own) > 1:
            raise ValueError("one image per prompt, or one prompt")
        shown = [prompt.count(mark) for prompt in prompts]
        if shown != list(map(len, own)):
            raise ValueError(f"{shown} placeholders for {list(map(len, own))} images")
        inputs = self.tiny.prompt(words, images=len(own[0]))
        flat = [image for one in own for image in one]
        return {name: self._painted(name, value, flat) for name, value in inputs.items()}

    def _painted(self, name: str, value: Any, images: Sequence[Image.Image]) -> Any:
        """The values of the images in a tensor of the family's layout, image after image."""
        if not (torch.is_tensor(value) and value.is_floating_point()) or name == "bbox":
            return value
        each = value.numel() // len(images)
        parts = [self._values(image).repeat(-(-each // (3 * SIDE * SIDE)))[:each] for image in images]
        painted = torch.cat(parts).reshape(value.shape).to(value.dtype)
        if name == "flattened_patches":  # the first two columns are the place of a patch
            painted[..., :2] = value[..., :2]
        return painted

    def _values(self, image: Image.Image) -> Tensor:
        array = np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32) / 255
        return torch.from_numpy((array - self.mean) / self.std).flatten()


def subject_of(name: str) -> Subject:
    """A clean subject: the tiny family `name`, or the sandbox's model for "sandbox"."""
    if name == "sandbox":
        return Subject(*sandbox.load_mllm())
    tiny = architectures.tiny(name)
    processor: Any = TinyProcessor(tiny)
    tiny.model.generation_config.eos_token_id = processor.tokenizer.convert_tokens_to_ids("<end>")
    return Subject(tiny.model, processor)


# --- the faults, each where a user makes it -----------------------------------------------------------------------


class NotApplicableError(Exception):
    """The family cannot have the fault."""


def changed_images(subject: Subject, change: Callable[[Image.Image], Image.Image]) -> Subject:
    usual = by_processor(subject.processor)
    return replace(subject, prepare=lambda images, texts: usual([[change(i) for i in own] for own in images], texts))


def changed_inputs(subject: Subject, change: Callable[[Inputs], Inputs]) -> Subject:
    usual = by_processor(subject.processor)
    return replace(subject, prepare=lambda images, texts: change(dict(usual(images, texts))))


def needs_text(subject: Subject) -> None:
    if "input_ids" not in subject.reference([[Image.new("RGB", (64, 64))]], [QUESTIONS[0]]):
        raise NotApplicableError("no text")


def needs_images(subject: Subject) -> None:
    inputs = subject.reference([[Image.new("RGB", (64, 64))]], [QUESTIONS[0]])
    if not any(torch.is_tensor(v) and v.is_floating_point() for v in inputs.values()):
        raise NotApplicableError("no pixels")


def per_token(inputs: Inputs) -> list[str]:
    """Names of the inputs with one value per token; an image may have as many patches as the prompt has tokens."""
    shape = inputs["input_ids"].shape
    tensors = {name: value for name, value in inputs.items() if torch.is_tensor(value) and "pixel" not in name}
    return [name for name, value in tensors.items() if value.shape[:2] == shape]


def wrong_template(subject: Subject) -> Subject:
    """The question is written without the template's marks of turns."""
    needs_text(subject)
    processor: Any = subject.processor

    def prepare(images: Images, texts: Sequence[str]) -> Mapping[str, Any]:
        prompts = [f"{'<image> ' * len(own)}{text}" for own, text in zip(images, texts, strict=True)]
        flat = [own[0] for own in images] if all(len(own) == 1 for own in images) else [list(own) for own in images]
        return processor(images=flat if any(images) else None, text=prompts, padding=True, return_tensors="pt")

    return replace(subject, prepare=prepare)


def lost_image(subject: Subject) -> Subject:
    """Every prompt is sent with a grey image in place of its own."""
    needs_images(subject)
    return changed_images(subject, lambda image: Image.new("RGB", image.size, (127, 127, 127)))


def small(subject: Subject) -> Subject:
    """Images are shrunk to a twenty-fourth before the processor."""
    needs_images(subject)
    return changed_images(subject, lambda i: i.resize((i.width // 24, i.height // 24)).resize(i.size))


def swapped_channels(subject: Subject) -> Subject:
    needs_images(subject)
    return changed_images(subject, lambda image: Image.merge("RGB", image.split()[::-1]))


def stale(subject: Subject) -> Subject:
    """Positions of the answer go on from the first prompt's end in every later one."""
    needs_text(subject)
    if subject.model.config.is_encoder_decoder:
        raise NotApplicableError("an encoder-decoder counts positions by itself")
    first: list[int] = []
    model = subject.model

    class Stale(type(model)):  # type: ignore[misc]
        def prepare_inputs_for_generation(self, input_ids: Tensor, *args: Any, **kwargs: Any) -> Inputs:
            inputs: Inputs = super().prepare_inputs_for_generation(input_ids, *args, **kwargs)
            positions = inputs.get("position_ids")
            read = inputs["input_ids"].shape[1] if inputs.get("input_ids") is not None else input_ids.shape[1]
            if read > 1:
                first.append(input_ids.shape[1])
            elif positions is not None:
                inputs["position_ids"] = positions + (first[0] - first[-1])
                changed.append(True)
            return inputs

    changed: list[bool] = []
    run = by_generate(shared_copy_of(model, Stale))
    run(subject.reference([[Image.new("RGB", (64, 64))]], [QUESTIONS[0]]))
    if not changed:
        raise NotApplicableError("its decoder is given no positions")
    second = subject.reference([[Image.new("RGB", (64, 64))]], [LONGER])
    if torch.equal(run(second), by_generate(model)(second)):
        raise NotApplicableError("its decoder makes no use of positions")
    first.clear()
    return replace(subject, run=by_generate(shared_copy_of(model, Stale)))


def no_stop(subject: Subject) -> Subject:
    needs_text(subject)
    return replace(subject, stop=[3])


def two_starts(subject: Subject) -> Subject:
    needs_text(subject)
    start = subject.processor.tokenizer.bos_token_id

    def change(inputs: Inputs) -> Inputs:
        made = dict(inputs)
        for name in per_token(inputs):
            value = inputs[name]
            front = {"input_ids": torch.full_like(value[:, :2], start), "attention_mask": torch.ones_like(value[:, :2])}
            made[name] = torch.cat([front.get(name, torch.zeros_like(value[:, :2])), value], 1)
        return made

    return changed_inputs(subject, change)


def attended_padding(subject: Subject) -> Subject:
    """The mask is dropped in every batch that is padded."""
    needs_text(subject)
    inputs = subject.reference([[Image.new("RGB", (64, 64))]] * 2, [SHORT, LONGER])
    if "attention_mask" not in inputs or subject.model.config.is_encoder_decoder:
        raise NotApplicableError("no mask")
    if PROBES[8](replace(subject, found=set())).status == "note":
        raise NotApplicableError("the family attends to padding by itself, which the doctor notes")
    usual = by_generate(subject.model)

    def run(inputs: Inputs) -> Tensor:
        return usual({**inputs, "attention_mask": torch.ones_like(inputs["attention_mask"])})

    return replace(subject, run=run)


def first_images_cache(subject: Subject) -> Subject:
    """Answers are kept by the token ids alone."""
    needs_images(subject)
    kept: dict[str, Tensor] = {}
    usual = by_generate(subject.model)

    def run(inputs: Inputs) -> Tensor:
        key = str(inputs["input_ids"].tolist()) if "input_ids" in inputs else ""
        if key not in kept:
            kept[key] = usual(inputs)
        return kept[key]

    return replace(subject, run=run)


def one_token_less(subject: Subject) -> Subject:
    """One placeholder is missing, as with the patch size of another checkpoint."""
    needs_text(subject)
    inputs = subject.reference([[Image.new("RGB", (64, 64))]], [QUESTIONS[0]])
    marks = torch.tensor(subject.placeholders or [-1])
    if int(torch.isin(inputs["input_ids"], marks).sum()) < 3:
        raise NotApplicableError("no placeholders")

    def change(inputs: Inputs) -> Inputs:
        if not bool(torch.isin(inputs["input_ids"], marks).any()):
            return inputs
        keep = torch.ones_like(inputs["input_ids"], dtype=torch.bool)
        for row, ids in zip(keep, inputs["input_ids"], strict=True):
            row[torch.isin(ids, marks).nonzero()[0, 0]] = False
        return {
            name: value[keep].reshape(len(keep), -1, *value.shape[2:]) if name in per_token(inputs) else value
            for name, value in inputs.items()
        }

    return changed_inputs(subject, change)


def overflowing(subject: Subject) -> Subject:
    """The tower returns what half precision makes of values a hundred thousand times as large."""
    needs_images(subject)
    model = shared_copy_of(subject.model)
    towers = towers_of(model)
    if not towers:
        raise NotApplicableError("no module is named as a vision tower")
    called: list[bool] = []

    def hook(module: Any, args: Any, output: Any) -> Any:
        called.append(True)
        if torch.is_tensor(output):
            return (output * 1e6).half().to(output.dtype)
        for name, value in output.items() if hasattr(output, "items") else ():
            if torch.is_tensor(value) and value.is_floating_point():
                output[name] = (value * 1e6).half().to(value.dtype)
        return tuple((v * 1e6).half().to(v.dtype) if torch.is_tensor(v) and v.is_floating_point() else v
                     for v in output) if type(output) is tuple else output  # fmt: skip

    for tower in towers:
        tower.register_forward_hook(hook)
    by_generate(model)(subject.reference([[Image.new("RGB", (64, 64), "red")]], [QUESTIONS[0]]))
    if not called:
        raise NotApplicableError("the tower is not called as a module")
    return replace(subject, model=model)


def with_adapter(subject: Subject, active: bool) -> Subject:
    """A LoRA on the linear layers of the decoder; its B matrices are random, or zero as when no weights were loaded."""
    from peft import LoraConfig, inject_adapter_in_model

    from halluguard.decoding.engine.layers import decoder_layers

    from torch import nn  # isort: skip

    names = {id(module): name for name, module in subject.model.named_modules()}
    linear = [m for layer in decoder_layers(subject.model) for m in layer.modules() if type(m) is nn.Linear]
    if not linear:
        raise NotApplicableError("no linear layers in the decoder")
    model = shared_copy_of(subject.model)
    config = LoraConfig(r=2, target_modules=[names[id(module)] for module in linear])
    inject_adapter_in_model(config, model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name and active:
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    return replace(subject, model=model.eval())


def other_version(subject: Subject) -> Subject:
    """The image is cropped to its middle, as another version of the processor did."""
    needs_images(subject)
    return changed_images(subject, lambda i: i.crop((i.width // 8, i.height // 8, i.width, i.height)).resize(i.size))


def unnormalised(subject: Subject) -> Subject:
    """Pixels in [0, 1]: mean and standard deviation were never applied."""
    needs_images(subject)
    processor: Any = subject.processor
    if isinstance(processor, TinyProcessor):
        return replace(subject, prepare=by_processor(TinyProcessor(processor.tiny, 0.0, 1.0)))  # type: ignore[arg-type]
    usual = by_processor(processor)
    return replace(
        subject,
        prepare=lambda images, texts: {
            name: value * 0.25 + 0.5 if torch.is_tensor(value) and value.is_floating_point() else value
            for name, value in usual(images, texts).items()
        },
    )


def truncated(subject: Subject) -> Subject:
    """Ids are cut at a length that a long prompt exceeds."""
    needs_text(subject)
    most = subject.reference([[Image.new("RGB", (64, 64))]], [QUESTIONS[0]])["input_ids"].shape[1] + 30

    def change(inputs: Inputs) -> Inputs:
        cut = per_token(inputs)
        return {name: value[:, :most] if name in cut else value for name, value in inputs.items()}

    return changed_inputs(subject, change)


SEEDS: dict[int, Callable[[Subject], Subject]] = {
    1: wrong_template,
    2: lost_image,
    3: small,
    4: swapped_channels,
    5: stale,
    6: no_stop,
    7: two_starts,
    8: attended_padding,
    9: first_images_cache,
    10: one_token_less,
    11: overflowing,
    12: lambda subject: with_adapter(subject, active=False),
    13: other_version,
    14: unnormalised,
    15: truncated,
}
"""Number of a fault -> what plants it into a clean subject."""


def examined(subject: Subject) -> dict[int, str]:
    """Status of each probe."""
    statuses = {}
    for number, probe in PROBES.items():
        finding = probed(number, probe, subject)
        if finding.status == "fault":
            subject.found.add(number)
        statuses[number] = finding.status
    return dict(sorted(statuses.items()))


def verdicts(name: str, matrix: bool = False) -> dict[str, str]:
    """The doctor's findings on a family: for "clean", "adapter" and each fault.

    All probes look at the clean models. At a seeded fault its own probe looks alone, or all of them with `matrix`.
    """
    clean = subject_of(name)
    statuses = examined(replace(clean, found=set()))
    if all(status == "skipped" for status in statuses.values()):
        raise NotApplicableError("no probe can run it")
    row = {"clean": _alarms(statuses)}
    try:
        row["clean, adapter"] = _alarms(examined(replace(with_adapter(clean, active=True), found=set())))
    except Exception as error:
        row["clean, adapter"] = f"not applicable: {type(error).__name__}"
    for number in SEEDS:
        try:
            seeded = SEEDS[number](clean)
        except NotApplicableError as reason:
            row[str(number)] = f"not applicable: {reason}"
            continue
        except Exception as error:
            row[str(number)] = f"not applicable: {type(error).__name__}: {str(error)[:80]}"
            continue
        seeded = replace(seeded, found=set())
        own = {} if matrix else {number: probed(number, PROBES[number], seeded).status}
        row[str(number)] = _alarms(own or examined(seeded)) + (" of all" if matrix else "")
    return row


def _alarms(statuses: Mapping[int, str]) -> str:
    """Numbers of the faults found, and behind a bar the number of probes that passed."""
    faults = " ".join(str(number) for number, status in statuses.items() if status == "fault") or "none"
    return f"{faults} | {sum(status == 'ok' for status in statuses.values())} passed"


def table(results: Mapping[str, Mapping[str, str]]) -> str:
    """Found, missed and other alarms of each fault, over the families."""
    lines = ["| fault | name | families | found | other alarms | not applicable |", "|---" * 6 + "|"]
    for number, (name, _) in FAULTS.items():
        cells = [row[str(number)] for row in results.values() if str(number) in row]
        seeded = [cell.partition(" |")[0].split() for cell in cells if not cell.startswith("not")]
        found = sum(str(number) in cell for cell in seeded)
        whole = [cell.partition(" |")[0].split() for cell in cells if cell.endswith("of all")]
        other = sum(any(alarm not in (str(number), "none") for alarm in cell) for cell in whole)
        lines.append(
            f"| {number} | {name} | {len(seeded)} | {found} | {other} of {len(whole)} | {len(cells) - len(seeded)} |"
        )
    clean = [row[key] for row in results.values() for key in ("clean", "clean, adapter") if key in row]
    clean = [cell for cell in clean if not cell.startswith("not")]
    lines.append(f"| – | none (clean models, with and without an adapter) | {len(clean)} | – "
                 f"| {sum(not cell.startswith('none') for cell in clean)} | – |")  # fmt: skip
    return "\n".join(lines)


def misses(results: Mapping[str, Mapping[str, str]]) -> list[str]:
    """A line for every fault that was not found, and for every other alarm."""
    lines = []
    for family, row in results.items():
        for seed, cell in row.items():
            alarms = cell.partition(" |")[0].split()
            expected = [seed] if seed.isdigit() else ["none"]
            if not cell.startswith("not") and alarms != expected:
                lines.append(f"{family}: seeded {seed}, found {' '.join(alarms)}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("families", nargs="*", help="model types of architectures.py [all, and the sandbox's model]")
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("doctor.json"),
        help="JSON file of verdicts: read first, completed after every family [doctor.json]",
    )
    parser.add_argument("--matrix", action="store_true", help="run every probe on every seeded fault")
    parser.add_argument("--write", type=Path, help="page whose table is replaced")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    results = json.loads(given.results.read_text()) if given.results.exists() else {}
    for name in given.families or [] if given.write else (given.families or ["sandbox", *architectures.FAMILIES]):
        if name in results and not given.families:
            continue
        try:
            results[name] = verdicts(name, given.matrix)
        except Exception as error:
            print(f"{name}: not examined, {type(error).__name__}: {str(error)[:150]}", flush=True)
            continue
        print(name, json.dumps(results[name]), flush=True)
        given.results.write_text(json.dumps(results, indent=1))
    print(table(results))
    for missed in misses(results):
        print(missed)
    if given.write:
        page = given.write.read_text(encoding="utf-8")
        head, _, rest = page.partition("<!-- table -->\n")
        _, _, tail = rest.partition("<!-- end of table -->")
        note = f"\n{len(results)} models, transformers, fp32, random weights except the sandbox's; one CPU thread.\n"
        given.write.write_text(
            f"{head}<!-- table -->\n{table(results)}\n{note}<!-- end of table -->{tail}", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
