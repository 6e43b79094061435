"""Describe the processor of each family, for `processors.py`: `RECIPES` has what differs from family to family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import transformers

SIDE = 56
"""Side of the images that a tiny vision tower reads, unless its configuration says otherwise."""


@dataclass(frozen=True)
class Recipe:
    """The parts of a family's processor that differ from most.

    Args:
        cls: name of the processor's class, if transformers' mapping leaves it out.
        images: name of the image processor's class, likewise.
        token: token that stands for the image in the ids that the model reads.
        mark: what the chat template writes for an image; default `token`, framed where patches are packed, because
            positions are counted by the runs of placeholders.
        tokens: further special tokens; a value is the id, or the configuration's field with it.
        settings: settings of the image processor; a callable gets the model.
        options: arguments of the processor's class; a callable gets the model.
        template: whether the published processors have a chat template.
        before: what stands before the question in a prompt without a template, for one image.
        call: arguments of the processor's call that the model needs.
        named: whether the tokenizer has the attributes of `NAMED`.
        frames: images of one prompt, in a family that takes clips of so many frames alone.
        missing: why there is no such processor.
    """

    cls: str = ""
    images: str = ""
    token: str = "<image>"
    mark: str = ""
    tokens: Mapping[str, int | str | None] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    template: bool = True
    before: str = ""
    call: Mapping[str, Any] = field(default_factory=dict)
    named: bool = True
    frames: int = 1
    missing: str = ""


def square(side: int) -> dict[str, int]:
    return {"height": side, "width": side}


PIXTRAL = Recipe(
    token="[IMG]", tokens={"[IMG_BREAK]": None, "[IMG_END]": None}, settings={"size": {"longest_edge": SIDE}}
)
TILED: dict[str, Any] = {
    "tokens": {"<global-img>": None, **{f"<row_{i}_col_{j}>": None for i in (1, 2, 3) for j in (1, 2, 3)}}
}
GEMMA = Recipe(mark="<boi>")
KOSMOS = ["</doc>", "</image>", "<grounding>", "<phrase>", "</phrase>", "<object>", "</object>", "<delimiter>"]
KOSMOS += ["</delimiter_of_multi_objects/>", "</line>", "</chunk>"]
BARE = Recipe(template=False)

RECIPES: dict[str, Recipe] = {
    "aria": Recipe(options={"images_kwargs": {"max_image_size": 490, "split_image": False}}),
    "idefics2": Recipe(settings={"size": {"shortest_edge": SIDE, "longest_edge": 84}, "do_image_splitting": False}),
    "gemma4": Recipe(settings={"max_soft_tokens": 70}, options={"image_seq_length": 70}),
    "aya_vision": Recipe(
        token="<|IMG_PATCH|>",
        mark="<image>",
        tokens=dict.fromkeys(("<|START_OF_IMG|>", "<|END_OF_IMG|>", "TILE_GLOBAL", "TILE")),
        options={"img_size": SIDE, "downsample_factor": lambda model: model.config.downsample_factor},
    ),
    "cohere2_vision": Recipe(settings={"patch_size": 2}),
    "cosmos3_omni": Recipe("Qwen3VLProcessor"),
    "cosmos3_edge": Recipe(call={"return_mm_token_type_ids": True}),
    "glm4v_moe": Recipe(images="Glm4vImageProcessor"),
    "glm_ocr": Recipe("Glm46VProcessor", "Glm46VImageProcessor"),
    "glmga": Recipe("Glm46VProcessor", "Glm46VImageProcessor"),
    "qwen3_vl_moe": Recipe(images="Qwen2VLImageProcessor"),
    "qwen2_5_omni_thinker": Recipe("Qwen2_5OmniProcessor", "Qwen2VLImageProcessor"),
    "qwen3_omni_moe_thinker": Recipe("Qwen3OmniMoeProcessor", "Qwen2VLImageProcessor"),
    "gemma3": GEMMA,
    "shieldgemma2": GEMMA,
    "t5gemma2": GEMMA,
    "diffusion_gemma": Recipe(images="Gemma4ImageProcessor", options={"image_seq_length": 4}),
    "gemma4_unified": Recipe(settings={"pooling_kernel_size": 2, "max_soft_tokens": 70}),
    "got_ocr2": Recipe(token="<imgpad>", options={"num_image_tokens": 16}, template=False, before="<imgpad>"),
    "pp_chart2table": Recipe(mark="<image>" * 16),
    "hunyuan_vl": Recipe(mark="<boi><image><eoi>"),
    "idefics3": Recipe(settings={"size": {"longest_edge": SIDE}, "max_image_size": {"longest_edge": SIDE}}, **TILED),
    "smolvlm": Recipe(settings={"size": {"longest_edge": SIDE}, "max_image_size": {"longest_edge": SIDE}}, **TILED),
    "granite_docling": Recipe(options={"image_seq_len": 4}, **TILED),
    "internvl": Recipe(options={"image_seq_length": 4}),
    "qianfan_ocr": Recipe(options={"image_seq_length": 4}),
    "mistral3": PIXTRAL,
    "mistral_large4": PIXTRAL,
    "llama4": Recipe(
        token="<|patch|>",
        mark="<|image|>",
        tokens={
            f"<|{word}|>": None
            for word in ("image", "image_start", "image_end", "tile_x_separator", "tile_y_separator")
        },
    ),
    "llava_onevision": Recipe(options={"num_image_tokens": 16}),
    "granite4_vision": Recipe(options={"downsample_rate": "1/2"}),
    "muse_glimmer": Recipe(token="<|patch|>", tokens={f"<|{w}|>": None for w in ("image_start", "image_end", "video")}),
    "ovis2": Recipe(
        token="<IMG_ATOM>",
        mark="<image>",
        tokens={f"<IMG_{word}>": None for word in ("START", "GRID", "COL", "ROW", "END")},
    ),
    "paligemma": Recipe(settings={"image_seq_length": 16}, template=False),
    "lfm2_vl": Recipe(
        settings={"encoder_patch_size": 14, "tile_size": 56, "min_image_tokens": 4, "max_image_tokens": 16}
    ),
    "deepseek_vl_hybrid": Recipe(settings={"high_res_size": {"height": SIDE, "width": SIDE}}),
    "step3p7": Recipe(
        token="<im_patch>",
        tokens={f"<{word}>": None for word in ("im_start", "im_end", "patch_start", "patch_end", "patch_newline")},
        settings={"patch_size": 56, "downsampler_stride": 4},
    ),
    "emu3": Recipe(images="Emu3ImageProcessor", settings={"min_pixels": 32 * 32, "max_pixels": 64 * 64}),
    "video_llava": Recipe(images="VideoLlavaImageProcessor"),
    "minimax_m3_vl": Recipe(
        token="]<]image[>[", tokens=dict.fromkeys(["]<]video[>[", "]<]start of image[>[", "]<]end of image[>["])
    ),
    "cohere_compass": Recipe(token="<|IMAGE_PAD|>", tokens={"<|VIDEO_PAD|>": None}, named=False),
    "fuyu": Recipe(missing="its processor takes away the mark that a SentencePiece tokenizer puts before a text"),
    "dots3_note": Recipe(token="<|imgpad|>", settings={"temporal_patch_size": 1}),
    "deepseek_ocr2": Recipe(
        settings={"size": {"height": 256, "width": 256}, "tile_size": 256},
        options={"patch_size": 16, "downsample_ratio": 4 / 3},
    ),
    "fast_vlm": Recipe(
        "LlavaProcessor", "CLIPImageProcessor", options={"num_additional_image_tokens": 0, "patch_size": 28}
    ),
    "kosmos-2": Recipe(
        "Kosmos2Processor",
        "CLIPImageProcessor",
        tokens=dict.fromkeys([*KOSMOS, *(f"<patch_index_{i:04d}>" for i in range(16))]),
        options={"num_patch_index_tokens": 16},
        template=False,
    ),
    "kosmos-2.5": Recipe(
        "Kosmos2_5Processor",
        "Kosmos2_5ImageProcessor",
        tokens={"</image>": None},
        options={"images_kwargs": {"max_patches": 16}},
        template=False,
    ),
    "vision-encoder-decoder": Recipe("DonutProcessor", "DonutImageProcessor", template=False),
    "pix2struct": Recipe(options={"images_kwargs": {"max_patches": 32}}, template=False),
    "pp_formulanet": BARE,
    "udop": Recipe(missing="it reads the words of a page, with a box each, by another program (pytesseract)"),
    "florence2": Recipe(settings={"image_seq_length": 5}, template=False),
    "blip": BARE,
    "blip-2": Recipe(template=False, named=False),
    "instructblip": Recipe(template=False, named=False),
    "instructblipvideo": Recipe(
        token="<video>",
        options={
            "num_query_tokens": 4,
            "video_processor": lambda model: transformers.InstructBlipVideoVideoProcessor(size=square(SIDE)),
        },
        frames=4,
        template=False,
        named=False,
    ),
    "minicpmv4_7": Recipe(options={"video_processor": lambda model: transformers.MiniCPMV4_6VideoProcessor()}),
    "inkling2": Recipe(
        settings={
            "size": lambda model: square(
                model.config.vision_config.patch_size * model.config.vision_config.spatial_merge_size
            )
        }
    ),
    "inkling_mm_model": Recipe(
        tokens={"<|content_image|>": None, "<|content_audio_input|>": None},
        settings={"size": lambda model: square(model.config.vision_config.patch_size)},
    ),
    "molmo2": Recipe(
        token="<im_patch>",
        mark="<image>",
        tokens=dict.fromkeys(f"<{word}>" for word in ("im_col", "im_start", "low_res_im_start", "im_end", "im_low")),
        settings={"overlap_margins": [0, 0], "max_crops": 2},
    ),
    "perception_lm": Recipe(settings={"tile_size": SIDE, "max_num_tiles": 4}, options={"pooling_ratio": 1}),
    "mistral4": Recipe(missing="it takes no image"),
    "evolla": Recipe(missing="its image is a protein"),
    "git": BARE,
    "chameleon": Recipe(template=False, before="<image>"),
    "idefics": BARE,
    "paddleocr_vl": Recipe(mark="<boi><image><eoi>"),
}
