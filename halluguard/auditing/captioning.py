"""Captions of a folder of pictures, from any captioner: an OpenAI-compatible endpoint, a `Guard`, a function.

    ask = Endpoint("http://localhost:8000/v1", "llava-hf/llava-1.5-7b-hf")
    caption_folder(Path("photos"), Path("captions.jsonl"), ask)          the file is what `halluguard audit` reads

A captioner takes pictures and gives, for each, its caption or the error that kept it from giving one. What is finished
is kept: the same command goes on after the last whole line, and pictures that failed are tried again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from halluguard.errors import ExpertError, HalluguardError, ImageError, InputError, SettingsError
from halluguard.images import load_image, resolve_inside
from halluguard.io import json_line, write_text, writing_to
from halluguard.rendering import data_url

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
PROMPT = "Please describe this image in detail."
IN_A_ROW = 20
"""Pictures that fail one after another before the captioner is taken to be gone."""

Captioner = Callable[[Sequence[Any]], Sequence["str | HalluguardError"]]


@dataclass(frozen=True)
class Captioned:
    """How a run went: pictures captioned now, found captioned already, and failed."""

    captioned: int
    already: int
    failed: int


def pictures_in(folder: Path) -> list[str]:
    """Paths below the folder, sorted, of files named like pictures. Links that lead outside are left out.

    Raises:
        InputError: no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise InputError(f"expected a folder of pictures, got {str(folder)!r}; check the path")
    found = []
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.suffix.lower() in SUFFIXES and path.is_file() and _inside(folder, name):
            found.append(name)
    if not found:
        raise InputError(f"expected pictures ({', '.join(SUFFIXES)}) in {str(folder)!r}, found none; check the path")
    return sorted(found)


def _inside(folder: Path, name: str) -> bool:
    try:
        resolve_inside(folder, name)
    except ImageError:
        return False
    return True


def caption_folder(
    folder: Path,
    out: Path,
    captioner: Captioner,
    *,
    settings: dict[str, Any] | None = None,
    limit: int | None = None,
    batch_size: int = 8,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Captioned:
    """Caption every picture of a folder into JSON lines {"image": path in the folder, "caption": text}.

    Args:
        out: the file; whole lines already in it are kept and their pictures not asked for again.
        captioner: B pictures (PIL, RGB, upright) -> B captions, or the error in place of one.
        settings: what decides the captions (model, prompt, ...); kept beside `out`, and compared when it is continued.
        limit: only the first so many pictures.
        batch_size: pictures given to the captioner at once.
        progress: called with (done, of).

    Failures are written to `OUT.errors.jsonl` with their reason.

    Raises:
        InputError: no pictures. SettingsError: `out` was begun with other settings.
        ExpertError: the captioner is gone: `IN_A_ROW` pictures in a row failed with an ExpertError.
    """
    if batch_size < 1 or (limit is not None and limit < 1):
        raise SettingsError(f"batch_size and limit must be at least 1, got {batch_size} and {limit}")
    names = pictures_in(folder)[:limit]
    kept = _continued(out, settings or {})
    left = [name for name in names if name not in kept]
    failed: list[dict[str, str]] = []
    in_a_row = 0
    with writing_to(out.parent), out.open("a", encoding="utf-8") as file:
        for start in range(0, len(left), batch_size):
            batch = left[start : start + batch_size]
            for name, said in zip(batch, _captions(folder, batch, captioner), strict=True):
                if isinstance(said, str):
                    file.write(json_line({"image": name, "caption": said}))
                    in_a_row = 0
                else:
                    failed.append({"image": name, "code": _code(said), "reason": str(said)})
                    in_a_row += isinstance(said, ExpertError)
            file.flush()
            os.fsync(file.fileno())
            write_text(_beside(out, "errors.jsonl"), map(json_line, failed))
            if in_a_row >= IN_A_ROW:
                raise ExpertError(
                    f"{in_a_row} pictures in a row failed, the last with: {failed[-1]['reason']}; see that the "
                    "captioner is there, then run the same command again: what is finished is kept"
                )
            progress(min(start + batch_size, len(left)), len(left))
    return Captioned(len(left) - len(failed), len(names) - len(left), len(failed))


def _code(error: HalluguardError) -> str:
    return "image" if isinstance(error, ImageError) else "captioner"


def _beside(out: Path, suffix: str) -> Path:
    return out.with_name(f"{out.stem}.{suffix}")


def _continued(out: Path, settings: dict[str, Any]) -> set[str]:
    """Pictures that `out` holds already. Half a line, as a crash leaves it, is cut off."""
    beside = _beside(out, "settings.json")
    done: set[str] = set()
    if out.exists():
        before = json.loads(beside.read_text(encoding="utf-8")) if beside.exists() else None
        if before != json.loads(json.dumps(settings)):
            raise SettingsError(
                f"{str(out)!r} was begun with other settings ({before}); remove it, or name another file"
            )
        whole = [line for line in out.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        if sum(map(len, whole)) != out.stat().st_size:
            with writing_to(out.parent), out.open("r+b") as file:
                file.truncate(sum(map(len, whole)))
        try:
            done = {json.loads(line)["image"] for line in whole}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{str(out)!r} holds lines that are no captions ({error}); name another file") from error
    write_text(beside, [json.dumps(settings, ensure_ascii=False, sort_keys=True) + "\n"])
    return done


def _captions(folder: Path, names: Sequence[str], captioner: Captioner) -> Iterator[str | HalluguardError]:
    """One caption or error per name; a picture that cannot be opened is never shown to the captioner."""
    opened: list[Any] = []
    for name in names:
        try:
            opened.append(load_image(resolve_inside(folder, name)))
        except ImageError as error:
            opened.append(error)
    good = [picture for picture in opened if not isinstance(picture, HalluguardError)]
    said = iter(_asked(captioner, good))
    for picture in opened:
        if isinstance(picture, HalluguardError):
            yield picture
            continue
        text = next(said)
        yield text if not isinstance(text, str) or text.strip() else ExpertError("the captioner said nothing")


def _asked(captioner: Captioner, pictures: Sequence[Any]) -> Sequence[str | HalluguardError]:
    if not pictures:
        return []
    try:
        said = list(captioner(pictures))
    except HalluguardError:
        raise
    except Exception as error:  # a function of the caller's: what it raises is told as its failure
        told = ExpertError(f"the captioner raised {type(error).__name__}: {error}")
        told.__cause__ = error
        return [told] * len(pictures)
    if len(said) != len(pictures):
        raise ExpertError(f"a captioner must give one caption per picture, got {len(said)} for {len(pictures)}")
    return said


# --- an endpoint -----------------------------------------------------------------------------------------------

_FATAL = {401: "the key is refused", 403: "the key may not do this", 404: "there is no such address or model"}


@dataclass
class Endpoint:
    """An OpenAI-compatible chat endpoint as a captioner. Pictures are sent as JPEG inside the request.

    Args:
        url: base address, such as "http://localhost:8000/v1"; "/chat/completions" is added.
        model: its name there.
        prompt: what is asked of every picture.
        max_tokens, temperature, seed: of the answer; a seed is a request, which servers may not honour.
        key: bearer token; None sends none.
        workers: requests under way at once.
        timeout: seconds for one request.
        retries: further tries after a time-out, a lost connection, 408, 429 or 5xx, with growing pauses.
        max_side: pictures are shrunk to this longer side, in pixels.
        pause: seconds before the first further try.
    """

    url: str
    model: str
    prompt: str = PROMPT
    max_tokens: int = 512
    temperature: float = 0.0
    seed: int = 0
    key: str | None = field(default=None, repr=False)
    workers: int = 8
    timeout: float = 120.0
    retries: int = 4
    max_side: int = 1536
    pause: float = 0.5

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise SettingsError(
                f"an endpoint is an http or https address, got {self.url!r}; such as http://host:8000/v1"
            )
        if self.workers < 1 or self.retries < 0 or self.timeout <= 0 or self.max_tokens < 1 or self.max_side < 1:
            raise SettingsError("workers, timeout, max_tokens and max_side must be positive, retries at least 0")

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the captions."""
        names = ("model", "prompt", "max_tokens", "temperature", "seed", "max_side")
        return {"endpoint": self.url, **{name: getattr(self, name) for name in names}}

    def __call__(self, pictures: Sequence[Any]) -> list[str | HalluguardError]:
        """Captions of B pictures, or the error in place of one.

        Raises:
            ExpertError: the endpoint refuses the key, or knows no such model.
        """
        import httpx

        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        with (
            httpx.Client(timeout=self.timeout, headers=headers) as client,
            ThreadPoolExecutor(self.workers) as pool,
        ):
            found = list(pool.map(lambda picture: self._ask(client, picture), pictures))
        gone = next((answer for answer in found if isinstance(answer, _RefusedError)), None)
        if gone is not None:
            raise gone
        return found

    def _ask(self, client: Any, picture: Any) -> str | HalluguardError:
        import httpx

        content = [
            {"type": "image_url", "image_url": {"url": data_url(picture, self.max_side, quality=95)}},
            {"type": "text", "text": self.prompt},
        ]
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
        }
        told = ""
        for attempt in range(self.retries + 1):
            wait = self.pause * 2**attempt
            try:
                response = client.post(f"{self.url.rstrip('/')}/chat/completions", json=body)
            except httpx.HTTPError as error:
                told = f"{type(error).__name__}: {error}"
            else:
                if response.status_code == 200:
                    return _content(response)
                told = f"status {response.status_code}: {response.text[:200]}"
                if response.status_code in _FATAL:
                    return _RefusedError(
                        f"the endpoint {self.url} says {_FATAL[response.status_code]} ({told}); mend it"
                    )
                if response.status_code not in (408, 429) and response.status_code < 500:
                    return ExpertError(f"the endpoint {self.url} refused the picture ({told})")
                wait = max(wait, _wanted_pause(response))
            if attempt < self.retries:
                time.sleep(min(wait, 60))
        return ExpertError(f"the endpoint {self.url} gave no answer in {self.retries + 1} tries ({told})")


class _RefusedError(ExpertError):
    """No further picture would fare better."""


def _wanted_pause(response: Any) -> float:
    try:
        return float(response.headers.get("retry-after", 0))
    except ValueError:
        return 0.0


def _content(response: Any) -> str | HalluguardError:
    try:
        text = response.json()["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        text = None
    if not isinstance(text, str):
        return ExpertError(f"expected choices[0].message.content in the reply, got {response.text[:200]!r}")
    return text.strip()
