"""Build a server from the names of models and detectors, and run it."""

from __future__ import annotations

from fastapi import FastAPI

from halluguard import sandbox
from halluguard.checkpoints import default_device
from halluguard.detectors.specs import from_spec
from halluguard.errors import SettingsError
from halluguard.guard import Guard
from halluguard.listening import listen
from halluguard.prompting.checking import Checker
from halluguard.records import Detector
from halluguard.serving.app import create_app
from halluguard.serving.local_model import LocalModel
from halluguard.serving.metrics import Metrics
from halluguard.serving.settings import ServerSettings
from halluguard.serving.shared_detector import SharedDetector
from halluguard.serving.upstream import Upstream, upstream_address


def in_front_of(
    url: str,
    detector: Detector | str,
    settings: ServerSettings | None = None,
    *,
    device: str | None = None,
    key: str | None = None,
) -> FastAPI:
    """The application that checks the answers of another server.

    Args:
        url: base address of the other server, such as "http://localhost:8001/v1".
        detector: a detector of images, or the name of one.
        settings: limits of the server; default `ServerSettings()`.
        device: device of a detector that is given by name.
        key: bearer token for the other server, for clients that send none.

    Raises:
        SettingsError: the address is not valid, or the detector does not look at images.
    """
    settings, metrics = settings or ServerSettings(), Metrics()
    upstream_address(url)  # refuses a wrong one before a detector is loaded
    loaded = _detector(detector, device)
    shared = SharedDetector(loaded, settings.detector_batch, settings.check_timeout, metrics.batch.observe)
    checker = Checker(shared, thresholds=None, properties=None, calibration=None, style=settings.style, proposer=None)
    return create_app(Upstream(url, checker, settings, metrics, key=key), settings, metrics)


def around(
    model: Guard | str,
    detector: Detector | str | None = None,
    settings: ServerSettings | None = None,
    *,
    name: str | None = None,
    device: str | None = None,
) -> FastAPI:
    """The application that answers with a model in this process.

    Args:
        model: a Guard, or the hub name or folder of a model.
        detector: a detector of images, or the name of one; None means no check.
        settings: limits; default those of `ServerSettings`.
        name: name of the model in requests; default the given name, or "halluguard".
        device: device of a model and detector that are given by name.

    Raises:
        SettingsError: the detector does not look at images.
    """
    settings, metrics = settings or ServerSettings(), Metrics()
    if isinstance(model, Guard):
        guard, shown = model, name or "halluguard"
    else:
        loaded = None if detector is None else _detector(detector, device)
        source = sandbox.MLLM if model == "sandbox" else model
        guard, shown = (
            Guard.from_pretrained(source, detector=loaded, device=device, style=settings.style),
            name or model,
        )
    return create_app(LocalModel(guard, shown, settings, metrics), settings, metrics)


def _detector(detector: Detector | str, device: str | None) -> Detector:
    if isinstance(detector, str):
        detector = from_spec(detector, device=device or str(default_device()))
    if not detector.needs_image:
        raise SettingsError(
            f"a server needs a detector that looks at images, got {detector.name!r}, which knows them by their keys; "
            "name a detector model"
        )
    return detector


def run(app: FastAPI, host: str, port: int) -> None:
    """Serve until the process is told to stop; requests that run are finished first.

    Raises:
        SettingsError: the address cannot be listened on.
    """
    listen(app, host, port, path="/v1")
