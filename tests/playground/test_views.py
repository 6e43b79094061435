"""The HTML of the playground: claims are buttons, evidence is complete, and no text becomes markup."""

import re

from PIL import Image

from halluguard import Answer, Box, Claim, Edit, Verdict
from halluguard.errors import UnsupportedModelError
from halluguard.playground.session import Reply
from halluguard.playground.views import comparison_view, evidence_view, message_view, reply_view
from tests.test_rendering import Markup

DRAFT = "A blue couch and a <script>alert(1)</script>."
LIE = DRAFT.index("<script>")


def reply(image=None):
    return Reply(
        Answer(
            DRAFT,
            "A blue couch.",
            question="</textarea><b>what</b>",
            claims=(
                Claim("existence", "couch", "couch", 7, 12),
                Claim("attribute", "blue couch", "couch", 2, 12, attribute="blue", subject=0),
                Claim("existence", DRAFT[LIE:-1], "script", LIE, len(DRAFT) - 1),
            ),
            verdicts=(
                Verdict(0, "supported", 0.9, evidence=(Box("couch", 0.9, (10, 20, 60, 45)),), expert="<i>owl</i>"),
                Verdict(1, "supported", 0.8, evidence=(Box("couch", 0.9, (10, 20, 60, 45)),), expert="colours"),
                Verdict(2, "contradicted", 0.7, expert="<i>owl</i>", reason="no <u>script</u> found"),
            ),
            edits=(Edit(12, len(DRAFT) - 1, DRAFT[12:-1], "", (2,), "gone"),),
            image=image or Image.new("RGB", (100, 50), "gray"),
        ),
        "Imagination",
        -0.5,
        1.25,
    )


def test_every_claim_is_a_button_that_names_its_verdict():
    html = reply_view(reply())
    assert re.findall(r'data-verdict="(\d+)"', html) in (["0", "2"], ["1", "2"]), "of claims that overlap one is shown"
    assert "Imagination -0.5 · 2 supported, 1 contradicted, 0 unsure, 0 unverifiable · 1.2 s" in html
    assert html.count('class="box supported') == 1
    assert '<p class="text" id="corrected">A blue couch.</p>' in html


def test_evidence_names_expert_score_box_and_edit():
    html = evidence_view(reply(), 0)
    assert "&lt;i&gt;owl&lt;/i&gt;" in html
    assert "<td>0.90</td><td>10, 20, 60, 45</td>" in html
    assert "by colours" in html, "another verdict on the same words"
    assert html.count('class="box supported') == 1
    lie = evidence_view(reply(), 2)
    assert "No box speaks" in lie
    assert "was removed" in lie
    assert 'class="box' not in lie


def test_methods_stand_side_by_side_with_those_that_cannot_run():
    html = comparison_view([("VCD", reply()), ("OPERA", UnsupportedModelError("needs <b>eager</b> attention"))])
    assert re.findall(r'data-method="(\w+)"', html) == ["VCD", "OPERA"]
    assert "needs &lt;b&gt;eager&lt;/b&gt; attention" in html


def test_no_text_becomes_markup():
    views = [
        reply_view(reply()),
        evidence_view(reply(), 0),
        evidence_view(reply(), 2),
        comparison_view([("<b>", reply())]),
        message_view("<script>alert(1)</script> \u202e"),
    ]
    for html in views:
        seen = Markup()
        seen.feed(html)
        assert not seen.tags & {"script", "b", "i", "u", "textarea"}
        assert not {name for name in seen.attributes if name.startswith("on")}
        assert "\u202e" not in html
