"""The official package against transformers' port, weight for weight. Needs the package: `make test-groundingdino`."""

import re

import numpy as np
import pytest
import torch

from halluguard.detectors import groundingdino_py
from halluguard.detectors.groundingdino_py import CONFIGS, GroundingDinoPy, packaged_config
from halluguard.errors import ExpertError, InputError, MissingExtraError, SettingsError
from tests.detectors.conftest import SWIN, picture, text_settings

pytest.importorskip("groundingdino", reason="needs groundingdino-py: run `make test-groundingdino`")

TINY = {"hidden_dim": 256, "enc_layers": 2, "dec_layers": 2, "nheads": 4, "dim_feedforward": 64, "num_queries": 30}


@pytest.fixture(scope="module")
def tokenizer_folder(bert_tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    bert_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def build(tokenizer_folder):
    def build():
        from transformers import BertConfig

        text = BertConfig(**text_settings())
        torch.manual_seed(1)
        model = groundingdino_py.build(packaged_config(CONFIGS[0]) | TINY, tokenizer_folder, text=text)
        with torch.no_grad():
            for parameter in model.parameters():
                # Fresh weights are zero in places (box heads, query embeddings); noise makes every weight count.
                parameter.add_(torch.randn_like(parameter) * 0.05)
        return model

    return build


@pytest.fixture(scope="module")
def official(build):
    return build()


@pytest.fixture(scope="module")
def port(official):
    """transformers' model with the official model's weights."""
    from transformers import GroundingDinoConfig, GroundingDinoForObjectDetection

    backbone = {**SWIN, "image_size": 224, "embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24]}
    config = GroundingDinoConfig(
        text_config=text_settings(),
        backbone_config={**backbone, "window_size": 7},
        d_model=256,
        encoder_layers=2,
        encoder_ffn_dim=64,
        encoder_attention_heads=4,
        decoder_layers=2,
        decoder_ffn_dim=64,
        decoder_attention_heads=4,
        num_queries=30,
    )
    model = GroundingDinoForObjectDetection(config).eval()
    left = model.load_state_dict(translate(official.state_dict()), strict=False)
    missing = [k for k in left.missing_keys if "swin.layernorm" not in k and "relative_position_index" not in k]
    unexpected = [k for k in left.unexpected_keys if "pooler" not in k and "relative_position_index" not in k]
    assert not missing
    assert not unexpected
    return model


SWIN_IN_PORT = "model.backbone.conv_encoder.model"
DECODER = r"^transformer\.decoder\.layers\.(\d+)\."
ENCODER = r"^transformer\.encoder\.layers\.(\d+)\."
ENHANCER = r"^transformer\.encoder\.text_layers\.(\d+)\."
FUSION = r"^transformer\.encoder\.fusion_layers\.(\d+)\."
RENAMES = [
    (r"^backbone\.0\.patch_embed\.proj", f"{SWIN_IN_PORT}.swin.embeddings.patch_embeddings.projection"),
    (r"^backbone\.0\.patch_embed\.norm", f"{SWIN_IN_PORT}.swin.embeddings.norm"),
    (r"^backbone\.0\.norm(\d)", lambda m: f"{SWIN_IN_PORT}.hidden_states_norms.stage{int(m[1]) + 1}"),
    (r"^backbone\.0\.layers", f"{SWIN_IN_PORT}.swin.encoder.layers"),
    (r"(blocks\.\d+)\.norm1", r"\1.layernorm_before"),
    (r"(blocks\.\d+)\.norm2", r"\1.layernorm_after"),
    (r"(blocks\.\d+)\.attn\.proj", r"\1.attention.o_proj"),
    (r"(blocks\.\d+)\.attn\.relative", r"\1.attention.relative_position_bias.relative"),
    (r"(blocks\.\d+)\.attn\.(query|key|value)", lambda m: f"{m[1]}.attention.{m[2][0]}_proj"),
    (r"^bert\.", "model.text_backbone."),
    (r"^feat_map", "model.text_projection"),
    (r"^input_proj", "model.input_proj_vision"),
    (r"^transformer\.tgt_embed", "model.query_position_embeddings"),
    (r"^transformer\.enc_out_bbox_embed", "model.encoder_output_bbox_embed"),
    (r"^transformer\.(level_embed|enc_output)", r"model.\1"),
    (ENCODER + "self_attn", r"model.encoder.layers.\1.deformable_layer.self_attn"),
    (ENCODER + "norm1", r"model.encoder.layers.\1.deformable_layer.self_attn_layer_norm"),
    (ENCODER + "linear", r"model.encoder.layers.\1.deformable_layer.fc"),
    (ENCODER + "norm2", r"model.encoder.layers.\1.deformable_layer.final_layer_norm"),
    (ENHANCER + "self_attn", r"model.encoder.layers.\1.text_enhancer_layer.self_attn"),
    (ENHANCER + "linear", r"model.encoder.layers.\1.text_enhancer_layer.fc"),
    (ENHANCER + "norm1", r"model.encoder.layers.\1.text_enhancer_layer.layer_norm_before"),
    (ENHANCER + "norm2", r"model.encoder.layers.\1.text_enhancer_layer.layer_norm_after"),
    (FUSION + "gamma_v", r"model.encoder.layers.\1.fusion_layer.vision_param"),
    (FUSION + "gamma_l", r"model.encoder.layers.\1.fusion_layer.text_param"),
    (FUSION + "layer_norm_v", r"model.encoder.layers.\1.fusion_layer.layer_norm_vision"),
    (FUSION + "layer_norm_l", r"model.encoder.layers.\1.fusion_layer.layer_norm_text"),
    (FUSION + "attn", r"model.encoder.layers.\1.fusion_layer.attn"),
    (r"attn\.(values_|out_)?v_proj\.", r"attn.\1vision_proj."),
    (r"attn\.(values_|out_)?l_proj\.", r"attn.\1text_proj."),
    (r"^transformer\.decoder\.norm", "model.decoder.layer_norm"),
    (r"^transformer\.decoder\.ref_point_head", "model.decoder.reference_points_head"),
    (r"^transformer\.decoder\.bbox_embed", "model.decoder.bbox_embed"),
    (DECODER + "cross_attn", r"model.decoder.layers.\1.encoder_attn"),
    (DECODER + "norm1", r"model.decoder.layers.\1.encoder_attn_layer_norm"),
    (DECODER + "ca_text", r"model.decoder.layers.\1.encoder_attn_text"),
    (DECODER + "catext_norm", r"model.decoder.layers.\1.encoder_attn_text_layer_norm"),
    (DECODER + "self_attn", r"model.decoder.layers.\1.self_attn"),
    (DECODER + "norm2", r"model.decoder.layers.\1.self_attn_layer_norm"),
    (DECODER + "linear", r"model.decoder.layers.\1.fc"),
    (DECODER + "norm3", r"model.decoder.layers.\1.final_layer_norm"),
]


def translate(state):
    """The official model's weights under the names of transformers' port."""
    split = {}
    for key, value in state.items():
        if ".attn.qkv." in key or ".in_proj_" in key:
            old, joint = (".attn.qkv.", ".attn.{}.") if ".attn.qkv." in key else (".in_proj_", ".{}.")
            for name, part in zip(("query", "key", "value"), value.chunk(3), strict=True):
                split[key.replace(old, joint.format(name))] = part
        else:
            split[key] = value
    found = {}
    for key, value in split.items():
        for pattern, to in RENAMES:
            key = re.sub(pattern, to, key)
        found[key] = value
    return found


CAPTIONS = ["dog.", "cat. traffic light. person.", "red bus. dog. fire hydrant. man. animal."]


def compare(official, port, tokenizer, texts, sizes):
    """Largest differences of logits and boxes; images of several sizes are padded to the largest."""
    from groundingdino.util.misc import NestedTensor

    height, width = max(h for h, _ in sizes), max(w for _, w in sizes)
    pixels, mask = torch.zeros(len(sizes), 3, height, width), torch.zeros(len(sizes), height, width, dtype=torch.bool)
    for i, (h, w) in enumerate(sizes):
        pixels[i, :, :h, :w] = torch.randn(3, h, w, generator=torch.Generator().manual_seed(i))
        mask[i, :h, :w] = True
    inputs = tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=True)
    with torch.inference_mode():
        ours = official(NestedTensor(pixels, ~mask), captions=texts)
        theirs = port(pixel_values=pixels, pixel_mask=mask.long(), **inputs)
    a, b = ours["pred_logits"], theirs.logits
    assert torch.equal(a == -torch.inf, b == -torch.inf)
    seen = a != -torch.inf
    assert float(a[seen].std()) > 0.1, "the models must not say the same everywhere"
    return float((a - b)[seen].abs().max()), float((ours["pred_boxes"] - theirs.pred_boxes).abs().max()), ours


@pytest.mark.parametrize(
    ("texts", "sizes"),
    [
        *[([text], [(96, 128)]) for text in CAPTIONS],
        (CAPTIONS, [(96, 128)] * 3),
        # Large enough that no query starts in the padding, where all places score the same and any may be taken.
        (CAPTIONS[::-1], [(256, 320), (320, 256), (200, 300)]),
    ],
    ids=["one word", "phrases", "many phrases", "padded captions", "mixed picture sizes"],
)
def test_it_equals_the_port_with_the_same_weights(official, port, bert_tokenizer, texts, sizes):
    logits, boxes, _ = compare(official, port, bert_tokenizer, texts, sizes)
    print(f"{len(texts)} captions, {len(set(sizes))} sizes: logits {logits:.1e}, boxes {boxes:.1e}")
    assert logits < 1e-4
    assert boxes < 1e-5


def test_a_batched_caption_equals_itself_alone(official, port, bert_tokenizer):
    _, _, together = compare(official, port, bert_tokenizer, CAPTIONS, [(96, 128)] * 3)
    for i, text in enumerate(CAPTIONS):
        from groundingdino.util.misc import NestedTensor

        pixels = torch.randn(3, 96, 128, generator=torch.Generator().manual_seed(i))[None]
        with torch.inference_mode():
            alone = official(NestedTensor(pixels, torch.zeros(1, 96, 128, dtype=torch.bool)), captions=[text])
        words = len(bert_tokenizer(text)["input_ids"])
        assert torch.allclose(together["pred_logits"][i, :, :words], alone["pred_logits"][0, :, :words], atol=1e-4)
        assert torch.allclose(together["pred_boxes"][i], alone["pred_boxes"][0], atol=1e-5)


def test_without_the_patch_the_package_mixes_captions(build, port, bert_tokenizer):
    """The fault is really in the package: the same weights, its own forward, another answer in a batch."""
    model = build()
    for layer in model.transformer.encoder.text_layers:
        del layer.forward  # back to the class's own
    logits, *_ = compare(model, port, bert_tokenizer, CAPTIONS, [(96, 128)] * 3)
    assert logits > 1e-2
    logits, *_ = compare(model, port, bert_tokenizer, CAPTIONS[:1], [(96, 128)])
    assert logits < 1e-4


def test_the_expert_gives_what_the_port_s_expert_gives(official, port, bert_tokenizer):
    from types import SimpleNamespace

    from halluguard.detectors.zero_shot import ZeroShotDetector

    mine = GroundingDinoPy.of(official, floor=0.0)
    mine.processor.image_processor.size = {"shortest_edge": 96, "longest_edge": 192}
    processor = SimpleNamespace(tokenizer=bert_tokenizer, image_processor=mine.processor.image_processor)
    theirs = ZeroShotDetector(port, processor, floor=0.0)
    images, asked = [picture(100, 80, 1), picture(80, 100, 2)], [["dog", "traffic light"], ["cat"]]
    for a, b in zip(mine.detect(images, asked), theirs.detect(images, asked), strict=True):
        assert [x.phrase for x in a] == [x.phrase for x in b]
        assert np.allclose([x.xyxy for x in a], [x.xyxy for x in b], atol=1e-2)
        assert np.allclose([x.score for x in a], [x.score for x in b], atol=1e-4)
    with pytest.raises(ExpertError, match="cannot judge"):
        mine.detect(images[:1], [["zyzzogeton"]])


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_a_checkpoint_loads_as_it_was_saved(official, build, tmp_path, ending):
    path = tmp_path / f"weights{ending}"
    weights = {f"module.{k}": v.clone() for k, v in official.state_dict().items()}
    if ending == ".pth":
        torch.save({"model": weights}, path)
    else:
        from safetensors.torch import save_file

        save_file(weights, path)
    other = build()
    with torch.no_grad():
        other.feat_map.weight.zero_()
    groundingdino_py.load_weights(other, path)
    assert torch.equal(other.feat_map.weight, official.feat_map.weight)


def test_a_checkpoint_that_lacks_weights_is_refused(official, build, tmp_path):
    weights = dict(official.state_dict())
    del weights["feat_map.weight"]
    torch.save({"model": weights | {"surprise": torch.zeros(1)}}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"1 missing \(feat_map.weight\), 1 unknown \(surprise\)"):
        groundingdino_py.load_weights(build(), tmp_path / "w.pth")


class Trap:
    """A pickle that makes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("make", [Trap, lambda path: [1, 2]], ids=["code", "no weights"])
def test_a_file_that_is_no_checkpoint_is_refused_unread(official, build, tmp_path, make):
    trap = tmp_path / "sprung"
    torch.save(make(trap), tmp_path / "w.pth")
    with pytest.raises(InputError):
        groundingdino_py.load_weights(build(), tmp_path / "w.pth")
    assert not trap.exists()
    (tmp_path / "text.pth").write_text("no", encoding="utf-8")
    with pytest.raises(InputError, match="cannot read"):
        groundingdino_py.load_weights(build(), tmp_path / "text.pth")


@pytest.mark.parametrize("name", ["/tmp/evil.py", "evil", "../GroundingDINO_SwinT_OGC", "GroundingDINO_SwinT_OGC.yaml"])
def test_only_the_package_s_own_configurations_are_run(name):
    with pytest.raises(SettingsError, match="would be run"):
        packaged_config(name)
    assert packaged_config("GroundingDINO_SwinT_OGC.py")["backbone"] == "swin_T_224_1k"


def test_without_the_package_it_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "groundingdino.models.GroundingDINO.groundingdino", None)
    with pytest.raises(MissingExtraError, match="groundingdino"):
        groundingdino_py._package()
