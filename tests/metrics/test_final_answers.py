"""Answers of today's models: reasoning, boxes, JSON and emphasis come off before every yes/no parser."""

import gzip
import json

import pytest

from halluguard.errors import SettingsError
from halluguard.metrics import amber, hallusionbench, mme, mmhal, pope
from halluguard.metrics.final_answers import final_answer

WRAPPED = [
    "<think>Could it be a {other}? {Other}, no yes.</think>\n\n{Word}",
    "Could it be {other}? not sure, no yes.</think>{Word}",
    "◁think▷{Other}, no yes◁/think▷{Word}",
    "[THINK]{Other}. no yes[/THINK]{Word}",
    "<|channel|>analysis<|message|>{Other}, no yes<|end|><|start|>assistant<|channel|>final<|message|>{Word}",
    "<reasoning>{Other}, no yes</reasoning><answer>{Word}</answer>",
    "I first thought {other}, no yes. <answer> {Word} </answer>",
    "Not {other}, no yes. So \\boxed{{{Word}}}",
    "Not {other}, no yes: $\\boxed{{\\text{{{Word}}}}}$.",
    "\\boxed{{{Other}}} no yes, wait: \\boxed{{{Word}}}",
    "<think>{Other} no yes</think><|begin_of_box|>{Word}<|end_of_box|>",
    '{{"answer": "{Word}"}}',
    '{{"reason": "{other}, no yes", "answer": "{Word}"}}',
    'Not {other}, no yes:\n```json\n{{\n  "answer": "{Word}"\n}}\n```',
    "**{Word}**",
]
PLAIN = [
    "Yes",
    "No.",
    " Yes \n",
    "The answer is yes.",
    "Answer: no",
    '"No"',
    "(no)",
    "No!",
    "0",
    "",
    "A [dog] and {cat}",
    "a < b",
]


@pytest.mark.parametrize("word", ["yes", "no"])
@pytest.mark.parametrize("form", WRAPPED)
def test_every_parser_reads_the_final_answer_alone(form, word):
    other = {"yes": "no", "no": "yes"}[word]
    answer = form.format(word=word, Word=word.capitalize(), other=other, Other=other.capitalize())
    assert [pope.parse(answer, parser, word) for parser in pope.PARSERS] == [word] * len(pope.PARSERS)
    assert [mme.parse(answer, parser) for parser in mme.PARSERS] == [word] * len(mme.PARSERS)


@pytest.mark.parametrize("answer", PLAIN)
def test_plain_answers_stay_as_they_are(answer):
    assert final_answer(answer) == answer


@pytest.mark.parametrize("value", ["true", "false"])
def test_truth_values_in_json(value):
    assert final_answer(f'{{"answer": {value}}}') == {"true": "Yes", "false": "No"}[value]


@pytest.mark.parametrize("answer", ["<think>There is no dog, so", "<think>no</think>", "◁think▷Yes", '{"answer": ""}'])
def test_reasoning_without_an_answer_is_unread_and_neither_yes_nor_no(answer):
    assert {pope.parse(answer, parser, label) for parser in pope.PARSERS for label in ("yes", "no")} == {"neither"}
    assert {mme.parse(answer, parser) for parser in mme.PARSERS} == {"other"}
    questions = pope.build_questions({1: ["dog"], 2: ["cat"]}, "popular", per_image=1)
    score = pope.score(questions, {q.question_id: answer for q in questions}, resamples=0)
    assert score.counts["unparsed"] == score.counts["questions"] == 4
    assert score["acc"] == score["yes_ratio"] == 0


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("The answer is no.", "no"),
        ("The final answer is: **Yes**", "yes"),
        ("Let us look. There is no cat, but that does not matter.\nAnswer: yes", "yes"),
        ("**Answer:** No", "no"),
        ("Final Answer: Yes, there is no doubt.", "yes"),
        ("Yes, but there is no cat.", "yes"),
        ("no", "no"),
        ("There are no dogs.", "no"),
        ("Yes or no?", "neither"),
        ("Yes. No.", "neither"),
        ("I have no idea.", "neither"),
        ("It is not clear.", "neither"),
        ("Nothing", "neither"),
        ("", "neither"),
    ],
)
def test_the_modern_parser(answer, verdict):
    assert pope.parse(answer, "modern") == verdict
    assert mme.parse(answer, "modern") == ("other" if verdict == "neither" else verdict)


def test_raw_answers_are_parsed_as_they_are_and_the_signature_says_so():
    questions = pope.build_questions({1: ["dog"], 2: ["cat"]}, "popular", per_image=1)
    answers = {q.question_id: "<think>There is no cat here</think>Yes" for q in questions}
    final, raw = (pope.score(questions, answers, forms=forms, resamples=0) for forms in ("final", "raw"))
    assert (final["yes_ratio"], raw["yes_ratio"]) == (1, 0)
    assert "forms:raw" in raw.signature
    assert "forms" not in final.signature
    with pytest.raises(SettingsError, match="forms"):
        pope.score(questions, answers, forms="cooked")


def test_amber_reads_the_final_answer():
    annotations = [{"id": i, "type": "discriminative-hallucination", "truth": "no"} for i in (1, 2, 3)]
    answers = {1: "<think>Yes?</think>No", 2: "The answer is no.", 3: "<think>No, I"}
    exact = amber.discriminative(answers, annotations, resamples=0)
    modern = amber.discriminative(answers, annotations, reading="modern", resamples=0)
    raw = amber.discriminative(answers, annotations, forms="raw", resamples=0)
    assert [score.counts["unread"] for score in (exact, modern, raw)] == [2, 1, 3]
    assert "forms:raw" in raw.signature


def test_judges_that_think():
    assert hallusionbench.read_verdict("<think>It could be incorrect.</think>correct") == "correct"
    assert hallusionbench.read_verdict("<think>It is correct") == "unclear"
    assert mmhal.read_rating("<think>rating: 2 or rating: 3</think>Rating: 5") == 5


@pytest.mark.reference
@pytest.mark.parametrize("name", ["plain", "marine"])
def test_published_answers_pass_unchanged(reference_data, name):
    with gzip.open(reference_data / f"marine/pope_{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = [value for line in file for value in json.loads(line).values() if isinstance(value, str)]
    assert texts
    assert all(final_answer(text) == text for text in texts)
