"""What the playground computes: the answers of the Guard, kept, with the evidence of every claim."""

import threading

import pytest
from PIL import Image

from halluguard import HalluguardError, ImageError, SettingsError, sandbox
from halluguard.decoding import METHODS
from halluguard.errors import InputError, UnsupportedModelError
from halluguard.playground import IMAGINATION, Session
from halluguard.playground.session import MAX_QUESTION

QUESTION = "Describe the image."


@pytest.fixture(scope="module")
def session():
    return Session.from_pretrained(sandbox.MLLM, sandbox.DETECTOR, device="cpu", max_new_tokens=60)


@pytest.fixture(scope="module")
def scenes():
    return [scene.image for scene in sandbox.scenes(4)]


@pytest.mark.parametrize("imagination", [-1, -0.5, 0, 1])
def test_an_answer_is_that_of_the_guard(session, scenes, imagination):
    reply = session.ask(scenes[0], QUESTION, imagination)
    direct = session.guard(scenes[0], QUESTION, imagination=imagination, max_new_tokens=60)
    assert (reply.answer.draft, reply.answer.text) == (direct.draft, direct.text)
    assert reply.answer.verdicts == direct.verdicts
    assert reply.title == f"Imagination {imagination:+g}"


def test_the_setting_changes_answers_and_what_is_contradicted(session, scenes):
    def contradicted(setting):
        replies = [session.ask(scene, QUESTION, setting) for scene in scenes]
        return sum(verdict.decision == "contradicted" for reply in replies for verdict in reply.answer.verdicts)

    assert contradicted(-1) < contradicted(1)
    assert (
        session.ask(scenes[0], QUESTION, 0).answer.draft == session.ask(scenes[0], QUESTION, 0, "Greedy").answer.draft
    )


def test_a_setting_that_was_shown_is_kept_and_the_oldest_is_let_go(session, scenes, monkeypatch):
    first = session.ask(scenes[0], QUESTION, -0.5)
    assert session.ask(scenes[0].copy(), QUESTION, -0.5) is first
    assert session.ask(scenes[1], QUESTION, -0.5) is not first
    monkeypatch.setattr("halluguard.playground.session.KEPT", 3)
    small = Session(session.guard, max_new_tokens=1)
    replies = [small.ask(scenes[0], f"{QUESTION} {number}") for number in range(4)]
    assert small.ask(scenes[0], f"{QUESTION} 3") is replies[3]
    assert small.ask(scenes[0], f"{QUESTION} 0") is not replies[0]


def test_questions_that_arrive_together_are_answered_one_after_another(session, scenes):
    alone = [session.ask(scene, "Is there a dog?", 0).answer.text for scene in scenes]
    fresh, texts = Session(session.guard, max_new_tokens=60), {}

    def ask(k):
        texts[k] = fresh.ask(scenes[k], "Is there a dog?", 0).answer.text

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [texts[k] for k in range(4)] == alone


def test_every_claim_has_evidence_with_expert_and_reason(session, scenes):
    reply = session.ask(scenes[0], QUESTION, 1)
    decisions = set()
    for index, verdict in enumerate(reply.answer.verdicts):
        shown, *others = reply.evidence(index)
        assert shown.verdict == verdict
        assert shown.claim == reply.answer.claims[verdict.claim]
        assert all(other.claim.start < shown.claim.end for other in others)
        assert [box.score for box in shown.boxes] == sorted((box.score for box in shown.boxes), reverse=True)
        decisions.add(verdict.decision)
        if verdict.decision == "contradicted":
            assert shown.verdict.reason
    assert {"supported", "contradicted"} <= decisions
    with pytest.raises(InputError, match="click a claim"):
        reply.evidence(len(reply.answer.verdicts))


def test_every_method_answers_or_says_why_not(session, scenes):
    session = Session(session.guard, max_new_tokens=4)
    rows = session.compare(scenes[0], QUESTION, -0.5, session.methods)
    assert [title.split()[0] for title, _ in rows] == session.methods
    assert session.methods[0] == IMAGINATION
    assert set(session.methods) == set(METHODS)
    answered = {title.split()[0] for title, reply in rows if not isinstance(reply, HalluguardError)}
    assert {IMAGINATION, "Greedy", "VCD", "ICD", "M3ID", "DoLa"} <= answered
    assert all(
        isinstance(error, UnsupportedModelError | SettingsError) for _, error in rows if isinstance(error, Exception)
    )


@pytest.mark.parametrize(
    ("question", "imagination", "method", "message"),
    [
        ("", 0, IMAGINATION, "question of 1 to"),
        (" \n", 0, IMAGINATION, "question of 1 to"),
        ("x" * (MAX_QUESTION + 1), 0, IMAGINATION, "question of 1 to"),
        (QUESTION, 1.5, IMAGINATION, r"in \[-1, 1\]"),
        (QUESTION, float("nan"), IMAGINATION, r"in \[-1, 1\]"),
        (QUESTION, 0, "Magic", "decoding method"),
    ],
)
def test_bad_questions_and_settings_are_refused_in_a_sentence(session, scenes, question, imagination, method, message):
    with pytest.raises(SettingsError, match=message):
        session.ask(scenes[0], question, imagination, method)


def test_an_image_that_cannot_be_read_is_refused(session, tmp_path):
    (tmp_path / "no.png").write_bytes(b"no image")
    with pytest.raises(ImageError):
        session.ask(tmp_path / "no.png", QUESTION)


def test_without_a_detector_claims_are_left_open(scenes):
    session = Session.from_pretrained(sandbox.MLLM, device="cpu", max_new_tokens=20)
    reply = session.ask(Image.new("RGB", (64, 48), "white"), QUESTION)
    assert reply.answer.text == reply.answer.draft
    assert not reply.answer.checked
