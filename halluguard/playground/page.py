"""Lay out the page: inputs on the left, the marked answer and its evidence on the right, a comparison of methods below.

It computes nothing itself: `session` answers, `views` writes HTML. No component loads anything from another host.
"""

import os
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from PIL.Image import Image

from halluguard import sandbox
from halluguard.errors import HalluguardError, require
from halluguard.playground.session import IMAGINATION, MAX_QUESTION, Reply, Session
from halluguard.playground.views import comparison_view, evidence_view, message_view, reply_view
from halluguard.records import DEFAULT_PROMPT

if TYPE_CHECKING:
    import gradio

SCENES = 12
"""Number of sandbox scenes that are offered."""
WELCOME = "Drop an image or take a scene, then move the imagination setting."
SIDE_BY_SIDE = (IMAGINATION, "Greedy", "VCD", "ICD", "M3ID", "DoLa")
"""Methods that are compared by default."""

# A click on a claim sends the index of its verdict to the page.
CLAIM_CLICKED = """
element.addEventListener('click', (event) => {
  const claim = event.target.closest('[data-verdict]');
  if (claim) trigger('click', {verdict: Number(claim.dataset.verdict)});
});
"""


def require_gradio() -> None:
    """Import Gradio with its analytics switched off.

    Raises:
        MissingExtraError: the extra `play` is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    require("gradio", extra="play", feature="the playground")


def build(session: Session) -> "gradio.Blocks":
    """The page of a session."""
    require_gradio()
    import gradio as gr  # the extra play

    scenes = [scene.image for scene in sandbox.scenes(SCENES)]
    setting = {"api_visibility": "private", "show_progress": "minimal"}
    with gr.Blocks(title="halluguard play", analytics_enabled=False, delete_cache=(3600, 3600)) as blocks:
        shown = gr.State(None)
        with gr.Row():
            with gr.Column(min_width=300):
                image, gallery = _image_inputs(scenes)
                question = gr.Textbox(DEFAULT_PROMPT, label="Question", max_length=MAX_QUESTION, elem_id="question")
                imagination, method = _setting_inputs(session)
                ask = gr.Button("Ask", variant="primary")
            with gr.Column(min_width=300):
                view = gr.HTML(message_view(WELCOME), js_on_load=CLAIM_CLICKED, apply_default_css=False, elem_id="view")
                evidence = gr.HTML("", apply_default_css=False)
        methods = gr.CheckboxGroup(session.methods, value=list(SIDE_BY_SIDE), label="Methods side by side")
        compare = gr.Button("Compare", elem_id="compare")
        comparison = gr.HTML("", apply_default_css=False, elem_id="comparison")

        # Gradio reads the annotations of the next two functions, so this module does not postpone annotations.
        def take(event: gr.SelectData) -> Image:
            return scenes[event.index]

        def show_evidence(reply: Reply | None, event: gr.EventData) -> str:
            try:
                return "" if reply is None else evidence_view(reply, int(event.verdict))
            except HalluguardError as error:
                return message_view(str(error))

        inputs = [image, question, imagination, method]
        gallery.select(take, None, image, **setting)
        gr.on(
            [image.change, ask.click, question.submit, imagination.change, method.change],
            partial(answer, session),
            inputs,
            [view, evidence, shown],
            trigger_mode="always_last",
            **setting,
        )
        view.click(show_evidence, shown, evidence, **setting)
        compare.click(
            partial(side_by_side, session),
            [image, question, imagination, methods],
            comparison,
            **setting,
        )
    return blocks


def _image_inputs(scenes: Sequence[Image]) -> tuple["gradio.Image", "gradio.Gallery"]:
    """An upload, and a gallery of scenes to choose from."""
    import gradio as gr

    upload = gr.Image(label="Image", type="filepath", sources=["upload", "clipboard"], height=260)
    gallery = gr.Gallery(
        list(scenes),
        label="Scenes of the sandbox",
        height="auto",
        allow_preview=False,
        interactive=False,
        buttons=[],
        elem_id="scenes",
    )
    return upload, gallery


def _setting_inputs(session: Session) -> tuple["gradio.Slider", "gradio.Dropdown"]:
    """The imagination setting and the decoding method."""
    import gradio as gr

    imagination = gr.Slider(
        -1,
        1,
        value=0,
        step=0.1,
        label="Imagination",
        info="-1 keeps to the image, 0 is the model's own answer, 1 invents freely",
        elem_id="imagination",
    )
    method = gr.Dropdown(
        session.methods,
        value=IMAGINATION,
        label="Method",
        info="the imagination setting above is used by the method Imagination only",
        elem_id="method",
    )
    return imagination, method


def answer(
    session: Session, image: str | None, question: str, imagination: float, method: str
) -> tuple[str, str, Reply | None]:
    """The outputs of the page for its inputs: the marked answer, no evidence yet, and the reply with its claims."""
    if image is None:
        return message_view(WELCOME), "", None
    try:
        reply = session.ask(image, question, imagination, method)
    except HalluguardError as error:
        return message_view(str(error)), "", None
    return reply_view(reply), "", reply


def side_by_side(session: Session, image: str | None, question: str, imagination: float, methods: list[str]) -> str:
    """The answers of the chosen methods, or a message on the missing input."""
    if image is None or not methods:
        return message_view(WELCOME if image is None else "Choose at least one method.")
    try:
        return comparison_view(session.compare(image, question, imagination, methods))
    except HalluguardError as error:
        return message_view(str(error))
