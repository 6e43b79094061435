"""A pytest plug-in for a torchvision whose compiled operators do not fit torch: declares the two that its import asks for.

`pytest -p tests.detectors.operators`. Detection with the official Grounding DINO calls neither.
"""

import torch

_library = torch.library.Library("torchvision", "FRAGMENT")
for _name in ("nms", "qnms"):
    if not hasattr(torch.ops.torchvision, _name):
        _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
