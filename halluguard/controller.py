"""The control projector: one learnt direction at the head's input, scaled by a signed number.

    c' = c + epsilon W c,     W = up down (rank r)  or full,     W = 0 at the start

c is the hidden state after the language model's final norm, which the head reads. The head H is linear, so the logits
are affine in epsilon, H c + epsilon H W c, which is an exponential tilt of the model. Each row of a batch may have its
own epsilon. At epsilon 0 a row has the model's own logits, bit for bit. An untrained controller changes nothing at any
epsilon.

Zhai et al. 2023, "HallE-Control: controlling object hallucination in large multimodal models", arXiv 2310.01779, eq. 3.
Original code: bronyayang/HallE_Control, `llava_llama_switch.py`, where W is full and starts as the model's initializer
draws it, so that training must first unlearn the perturbation. The sign is theirs: negative is grounded, positive
imaginative.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from halluguard.errors import InputError, SettingsError, UnsupportedModelError, first_line
from halluguard.tensor_files import read_tensors

FORMAT = "halluguard-controller-1"
SAMPLES = 256
"""Number of sampled weights by which a file identifies the base model."""

Epsilon = float | Sequence[float] | Tensor | Callable[[Tensor], "float | Tensor"]


class Controller(nn.Module):
    """The matrix W, with its base model and range of settings; see `Controller.of(model)`, `Controller.load(path)`.

    Args:
        hidden_size: width of the hidden state.
        layer: path of the module that it acts on; see `head_input`.
        rank: rank of W; None for the paper's full matrix.
        base: (SAMPLES,) weights of the base model; see `fingerprint`.
        epsilon_range: (lowest, highest) setting of the training, lowest < 0 < highest.
        trained: record of the training for people who read the file: any JSON values.
        seed: seed of `down`, which starts at random (`up` starts at zero). The global random state is not touched.

    Example:
        >>> controller = Controller.of(model, rank=64)                         # doctest: +SKIP
        >>> with controller.attached(model, epsilon=[-1.0, 0.5]):              # doctest: +SKIP
        ...     model.generate(**inputs)                                       # a batch of two prompts
        >>> controller.save("grounded.safetensors")                            # doctest: +SKIP
    """

    def __init__(
        self,
        hidden_size: int,
        layer: str,
        rank: int | None = 64,
        *,
        base: Tensor | None = None,
        epsilon_range: tuple[float, float] = (-1.0, 1.0),
        trained: Mapping[str, object] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if rank is not None and not 1 <= rank <= hidden_size:
            raise SettingsError(
                f"rank must be in 1..{hidden_size} (the hidden size) or None for full, got {rank}; 64 is usual"
            )
        low, high = epsilon_range
        if not low < 0 < high:
            raise SettingsError(
                f"epsilon_range must have a negative and a positive end, got {epsilon_range}; the paper's is (-1, 1)"
            )
        self.hidden_size, self.layer, self.rank = hidden_size, layer, rank
        self.epsilon_range, self.trained = (float(low), float(high)), dict(trained or {})
        self.base = base
        if rank is None:
            self.weight = nn.Parameter(torch.zeros(hidden_size, hidden_size))
        else:
            draw = torch.Generator().manual_seed(seed)
            self.down = nn.Parameter(
                torch.randn(rank, hidden_size, generator=draw, device=draw.device) / hidden_size**0.5
            )
            self.up = nn.Parameter(torch.zeros(hidden_size, rank))

    @classmethod
    def of(cls, model: nn.Module, rank: int | None = 64, **settings: Any) -> Self:
        """An untrained controller for `model`; `settings` are further arguments of the class.

        Raises:
            UnsupportedModelError: the model has no linear head.
        """
        layer = head_input(model)
        controller = cls(language_head(model).in_features, layer, rank, base=fingerprint(model), **settings)
        return controller.to(next(_module(model, layer).parameters()).device)

    def epsilon_at(self, imagination: Tensor) -> Tensor:
        """Convert imagination settings in [-1, 1] to epsilon: -1 and 1 are the ends of `epsilon_range`, 0 is 0."""
        low, high = self.epsilon_range
        return torch.where(imagination < 0, -low * imagination, high * imagination)

    def change(self, hidden: Tensor) -> Tensor:
        """W c, of the shape (..., hidden_size) and type of c."""
        if self.rank is None:
            return nn.functional.linear(hidden.to(self.weight.dtype), self.weight).to(hidden.dtype)
        low = nn.functional.linear(hidden.to(self.down.dtype), self.down)
        return nn.functional.linear(low, self.up).to(hidden.dtype)

    def forward(self, hidden: Tensor, epsilon: float | Sequence[float] | Tensor) -> Tensor:
        """c + epsilon W c.

        Args:
            hidden: (B, S, hidden_size).
            epsilon: one number, (B,) one per row, or (B, S) one per position.

        Raises:
            InputError: the number of settings differs from the number of rows.
        """
        setting = torch.as_tensor(epsilon, dtype=torch.float32, device=hidden.device)
        if setting.ndim > 2 or (setting.ndim and setting.shape[0] not in (1, hidden.shape[0])):
            raise InputError(
                f"epsilon must be one number, one for each of the {hidden.shape[0]} rows or (B, S), got shape "
                f"{tuple(setting.shape)}; repeat them as the rows are repeated"
            )
        setting = setting.reshape(*setting.shape, *[1] * (3 - setting.ndim))
        moved = hidden + setting.to(hidden.dtype) * self.change(hidden)
        return torch.where(setting == 0, hidden, moved)

    @contextmanager
    def attached(self, model: nn.Module, epsilon: Epsilon) -> Iterator[Self]:
        """Control every forward of `model` within the block. The hook is removed at the end, even after an error.

        The hook acts on the output of the final norm, so it also works in training, where a fused loss may replace the
        call of the head. W is moved to the device of that layer.

        Args:
            model: the base model, or a wrapper of it.
            epsilon: as in `forward`; or a callable `(hidden) -> epsilon`, called at every forward.

        Raises:
            SettingsError: epsilon is outside `epsilon_range`.
            UnsupportedModelError: the controller was made for another model.
        """
        self.check(model)
        if not callable(epsilon):
            self._check_range(epsilon)
        handle: RemovableHandle | None = None
        try:
            handle = self.hook(model, epsilon)
            yield self
        finally:
            if handle is not None:
                handle.remove()

    def hook(self, model: nn.Module, epsilon: Epsilon) -> RemovableHandle:
        """Control `model` from now on, without checks; returns a handle with `remove()`. Prefer `attached`."""
        module = _module(model, self.layer)
        self.to(next(module.parameters()).device)

        def controlled(hidden: Tensor) -> Tensor:
            return self(hidden, epsilon(hidden) if callable(epsilon) else epsilon)

        if module is language_head(model):
            return module.register_forward_pre_hook(lambda _, args: (controlled(args[0]), *args[1:]))
        return module.register_forward_hook(lambda _, args, output: controlled(output))

    def extra_repr(self) -> str:
        return f"hidden_size={self.hidden_size}, rank={self.rank or 'full'}, layer={self.layer!r}"

    def check(self, model: nn.Module, any_base: bool = False) -> None:
        """Raise UnsupportedModelError unless this controller was made for `model`.

        Args:
            model: the base model, or a wrapper of it.
            any_base: True to check only that it fits, for a base whose weights were changed or quantised since.
        """
        width = language_head(model).in_features
        if width != self.hidden_size:
            raise UnsupportedModelError(
                f"the controller was made for hidden size {self.hidden_size}, got {type(model).__name__} with {width}; "
                "use the base model it was trained on"
            )
        if _find(model, self.layer) is None:
            raise UnsupportedModelError(
                f"the controller acts on the layer {self.layer!r}, which {type(model).__name__} does not have (it has "
                f"{head_input(model)!r}); use the base model it was trained on"
            )
        if self.base is None or any_base:
            return
        weights = fingerprint(model)
        if weights.shape != self.base.shape:
            raise UnsupportedModelError(
                f"the controller was made for another architecture than this {type(model).__name__}; use the base "
                "model it was trained on, or set controller.base = None to use it all the same"
            )
        known = ~(weights.isnan() | self.base.isnan())
        apart = ~torch.isclose(weights, self.base, rtol=8e-3, atol=1e-6) & known
        if apart.any():
            raise UnsupportedModelError(
                f"the controller was made for other weights: {int(apart.sum())} of {int(known.sum())} sampled weights "
                f"of this {type(model).__name__} differ; use the base model it was trained on, or set "
                "controller.base = None to use it all the same"
            )

    def _check_range(self, epsilon: float | Sequence[float] | Tensor) -> None:
        low, high = self.epsilon_range
        values = torch.as_tensor(epsilon, dtype=torch.float32)
        if not bool(((values >= low) & (values <= high)).all()):
            raise SettingsError(f"epsilon must be in [{low:g}, {high:g}], got {epsilon}; 0 is the plain model")

    # --- files -------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write one safetensors file with W and the base's sampled weights; all other fields are its metadata."""
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.named_parameters()}
        if self.base is not None:
            tensors["base"] = self.base
        low, high = self.epsilon_range
        metadata = {
            "format": FORMAT,
            "hidden_size": str(self.hidden_size),
            "rank": "full" if self.rank is None else str(self.rank),
            "layer": self.layer,
            "epsilon_range": f"{low} {high}",
            "trained": json.dumps(self.trained),
        }
        save_file(tensors, str(path), metadata)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file that `save` wrote. It is checked against a model when it is attached.

        Raises:
            InputError: no such file, or not one of a controller.
        """
        tensors, metadata = read_tensors(path, content="a controller", advice="name a file written by Controller.save")
        if metadata.get("format") != FORMAT:
            raise InputError(
                f"expected a controller of format {FORMAT!r}, got {metadata.get('format')!r} in {str(path)!r}; name a "
                "file written by Controller.save"
            )
        try:
            low, high = metadata["epsilon_range"].split()
            size, rank = int(metadata["hidden_size"]), metadata["rank"]
            shapes = (
                {"weight": (size, size)} if rank == "full" else {"down": (int(rank), size), "up": (size, int(rank))}
            )
            base = tensors.pop("base", None)
            stored = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
            if stored != shapes:  # checked before memory is taken for the sizes in the metadata
                raise ValueError(f"tensors {shapes} are expected, got {stored}")
            controller = cls(
                size,
                metadata["layer"],
                None if rank == "full" else int(rank),
                base=base,
                epsilon_range=(float(low), float(high)),
                trained=json.loads(metadata["trained"]),
            )
            controller.load_state_dict(tensors)
        except (KeyError, TypeError, ValueError, RuntimeError, RecursionError) as error:
            raise InputError(
                f"the tensors in {str(path)!r} do not fit their metadata: {type(error).__name__}: {first_line(error)}; "
                "name a file written by Controller.save"
            ) from error
        return controller


def head_input(model: nn.Module) -> str:
    """Path of the module whose output the head reads: the decoder's final norm, or the head itself where none is found.

    Raises:
        UnsupportedModelError: the model has no linear head.
    """
    head, decoder = language_head(model), _decoder(model)
    paths = {id(module): path for path, module in model.named_modules()}
    norms = [
        child
        for name, child in (decoder.named_children() if decoder else ())
        if "norm" in type(child).__name__.lower() and "embed" not in name  # BART's normalises the input
    ]
    fits = [n for n in norms if [p.shape[-1] for p in n.parameters()][:1] == [head.in_features]]
    # Some decoders also normalise their input; the final norm is declared last.
    return _plain_name(paths[id(fits[-1])] if fits else paths[id(head)])


def fingerprint(model: nn.Module) -> Tensor:
    """(SAMPLES,) float32: the middle elements of SAMPLES parameters, evenly spaced in the order of their names.

    It is the same, up to rounding, in every floating-point type. Adapters that are not merged, and controllers, are
    ignored; weights that are not in memory (device "meta") are NaN.
    """
    ours = {id(p) for module in model.modules() if isinstance(module, Controller) for p in module.parameters()}
    named = {
        _plain_name(name): parameter
        for name, parameter in model.named_parameters()
        if id(parameter) not in ours and "lora_" not in name
    }
    names = sorted(named)
    count = min(SAMPLES, len(names))
    chosen = [named[names[i * len(names) // count]] for i in range(count)]
    middle = [p.detach().flatten()[p.numel() // 2].float() for p in chosen]
    return torch.stack([torch.tensor(torch.nan) if value.is_meta else value.cpu() for value in middle])


def language_head(model: nn.Module) -> nn.Linear:
    """The layer that turns hidden states into logits.

    Raises:
        UnsupportedModelError: the model has no such layer, or it is not linear.
    """
    head = getattr(model, "get_output_embeddings", lambda: None)()
    if not isinstance(head, nn.Linear):
        raise UnsupportedModelError(
            f"a model with a linear head is expected, got {type(model).__name__} with {type(head).__name__}: a "
            "controller has nothing to act on; use Imagination without a controller"
        )
    return head


def _decoder(model: nn.Module) -> nn.Module | None:
    decoder = getattr(model, "get_decoder", lambda: None)()
    while decoder is not None:  # an outer decoder may hold the inner one, as OPT's does
        inner = getattr(decoder, "decoder", None)
        if not isinstance(inner, nn.Module):
            return decoder
        decoder = inner
    return None


def _plain_name(name: str) -> str:
    """The name that a module or parameter has in the base model, without PEFT's wrappers."""
    return name.removeprefix("base_model.model.").replace(".base_layer", "").replace(".modules_to_save.default", "")


def _find(model: nn.Module, layer: str) -> nn.Module | None:
    return next((module for name, module in model.named_modules() if _plain_name(name) == layer), None)


def _module(model: nn.Module, layer: str) -> nn.Module:
    module = _find(model, layer)
    assert module is not None, layer
    return module
