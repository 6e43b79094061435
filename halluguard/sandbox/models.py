"""Build the sandbox architectures, untrained: transformers' own classes in tiny configurations.

The MLLM is `LlavaForConditionalGeneration` (CLIP tower, projector, Llama), the detector `OwlViTForObjectDetection`.
Both share the tower's shape, so that one pretrained tower serves both. Tokenizers are word-level.
"""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    OwlViTConfig,
    OwlViTForObjectDetection,
    OwlViTImageProcessorPil,
    OwlViTProcessor,
    PreTrainedTokenizerFast,
)

from halluguard.sandbox.language import vocabulary
from halluguard.sandbox.world import CATEGORIES, IMAGE_SIZE

HIDDEN = 192
PATCH = 16
GRID = IMAGE_SIZE // PATCH
PATCHES = GRID * GRID
MEAN, STD = 0.5, 0.25

PAD, BOS, EOS, UNK, IMAGE = "<pad>", "<s>", "</s>", "<unk>", "<image>"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}USER: {% else %}ASSISTANT: {% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }} {% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>\n{% endif %}{% endfor %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }} {% endif %}{% endfor %}"
    "{% endif %}"
    "{% if message['role'] == 'assistant' %}</s>{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


IMAGE_SETTINGS: dict[str, Any] = {
    "size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
    "do_center_crop": False,
    "image_mean": [MEAN] * 3,
    "image_std": [STD] * 3,
}


def tower_config() -> CLIPVisionConfig:
    """The vision tower that both models share."""
    return CLIPVisionConfig(
        hidden_size=HIDDEN,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=IMAGE_SIZE,
        patch_size=PATCH,
        projection_dim=HIDDEN,
        hidden_act="gelu_pytorch_tanh",
    )


def _special_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    return {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}


def _word_tokenizer(words: list[str], **settings: Any) -> PreTrainedTokenizerFast:
    """A tokenizer of words and marks, one token each; `words[0]` pads."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, bos_token=BOS, eos_token=EOS, unk_token=UNK, **settings
    )


def build_processor() -> LlavaProcessor:
    """The MLLM's processor: PIL image processor, word-level tokenizer, left padding, chat template."""
    tokenizer = _word_tokenizer(
        [PAD, BOS, EOS, UNK, IMAGE, *vocabulary()],
        additional_special_tokens=[IMAGE],
        padding_side="left",
        model_max_length=512,
    )
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(**IMAGE_SETTINGS),
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        image_token=IMAGE,
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def build_mllm(processor: LlavaProcessor) -> LlavaForConditionalGeneration:
    """The untrained MLLM."""
    tokenizer = processor.tokenizer
    special: dict[str, Any] = _special_ids(tokenizer)
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        initializer_range=0.03,
        tie_word_embeddings=True,
        **special,
    )
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=tower_config(),
            text_config=text,
            image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
            vision_feature_layer=-1,
            vision_feature_select_strategy="default",
            projector_hidden_act="gelu",
            image_seq_length=PATCHES,
            tie_word_embeddings=True,
        )
    )
    model.generation_config.update(max_new_tokens=80, do_sample=False, **special)
    return model


def build_detector_processor() -> OwlViTProcessor:
    """The detector's processor. `</s>` has the highest id: OwlViT pools the text at the highest id."""
    names = sorted({word for name in CATEGORIES for word in name.split()} - {"a"})
    words = [PAD, UNK, BOS, "a", "an", "photo", "of", *names, EOS]
    tokenizer = _word_tokenizer(words, model_max_length=10, padding_side="right")
    ids = [(token, words.index(token)) for token in (BOS, EOS)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{BOS} $A {EOS}", special_tokens=ids)
    return OwlViTProcessor(image_processor=OwlViTImageProcessorPil(**IMAGE_SETTINGS), tokenizer=tokenizer)


def build_detector(processor: OwlViTProcessor) -> OwlViTForObjectDetection:
    """The untrained detector."""
    tokenizer = processor.tokenizer
    vision = {k: v for k, v in tower_config().to_dict().items() if k not in ("model_type", "projection_dim")}
    config = OwlViTConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 16,
            **_special_ids(tokenizer),
        },
        vision_config=vision,
        projection_dim=128,
    )
    return OwlViTForObjectDetection(config)
