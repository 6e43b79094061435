"""Yes and no: the word and its clause always agree, and a bare word is answer enough."""

import pytest

from halluguard.correction import correct
from halluguard.detectors.precomputed import KnownObjects
from halluguard.records import apply_edits

DOG = "Is there a dog in the image?"
TIE = "Is the man wearing a tie?"

# question, answer, objects, right answers (any of them)
CASES = [
    # a turned word and the clause after it
    (DOG, "Yes, there is one.", ["cat"], ["No, there is none.", "No."]),
    (DOG, "No, I don't see one.", ["dog"], ["Yes.", "Yes, I see one."]),
    (DOG, "Yes - there is one.", ["cat"], ["No.", "No - there is none."]),
    (DOG, "Yes. It is lying on the couch.", ["couch"], ["No."]),
    ("Is there a car in the image?", "Yes, and it is red.", ["bus"], ["No."]),
    (
        "Is there a person in the image?",
        "No, there is no person, only a dog.",
        ["person", "dog"],
        ["Yes, there is a person and a dog."],
    ),
    (DOG, "No there is no dog in the image.", ["dog"], ["Yes there is a dog in the image."]),
    (DOG, "Yes. Yes. Yes.", ["cat"], ["No."]),
    (DOG, "Yes, it is on the left.", ["cat"], ["No."]),
    (DOG, "Yes, there is one on the couch.", ["couch"], ["No.", "No, there is none on the couch."]),
    (DOG, "No, there are none.", ["dog"], ["Yes.", "Yes, there are some."]),
    (DOG, "No. I cannot see any.", ["dog"], ["Yes.", "Yes. I can see some."]),
    (DOG, "No, there isn't any.", ["dog"], ["Yes.", "Yes, there is one."]),
    # the word itself must not be lost
    (TIE, "Yes, he is wearing a tie.", ["person"], ["No, he is not wearing a tie.", "No."]),
    (TIE, "Yes, he wears a tie.", ["person"], ["No, he does not wear a tie.", "No."]),
    ("Is there a car in the image?", "No, but there is a bus.", ["car"], ["Yes."]),
    ("Is there a car in the image?", "No, but there is a bus.", ["car", "bus"], ["Yes, and there is a bus."]),
    (TIE, "No, he is not wearing a tie.", ["person", "tie"], ["No, he is not wearing a tie.", "Yes, he is wearing a tie."]),
    (None, "Yes, he is wearing a tie.", ["person"], ["No.", "No, there is no tie.", "No, he is not wearing a tie."]),
    # or, either, and
    ("Is there a dog or a cat in the image?", "Yes.", ["cat"], ["Yes."]),
    ("Is there a dog or a cat in the image?", "Yes.", ["bird"], ["No."]),
    ("Is there a dog or a cat in the image?", "No.", ["cat"], ["Yes."]),
    ("Is there either a bus or a car here?", "Yes, there is a car.", ["car"], ["Yes, there is a car."]),
    ("Are there both a dog and a cat?", "Yes", ["dog"], ["No"]),
    ("Are there both a dog and a cat?", "Yes", ["dog", "cat"], ["Yes"]),
    ("Is there a dog and a cat?", "No", ["dog", "cat"], ["No"]),
    # answers and questions in other words
    (DOG, "The answer is yes.", ["cat"], ["The answer is no."]),
    (DOG, "The answer is no.", ["dog"], ["The answer is yes."]),
    (DOG, "Answer: Yes", ["cat"], ["Answer: No"]),
    (DOG, "**Yes**", ["cat"], ["**No**"]),
    (DOG, "**Yes**, there is a dog.", ["cat"], ["**No**, there is no dog."]),
    (DOG, "No there isn't.", ["dog"], ["Yes there is."]),
    ("In the image, is there a dog?", "Yes", ["cat"], ["No"]),
    ("Please look closely: is there a dog?", "Yes", ["cat"], ["No"]),
    # other words and short clauses that answer
    (DOG, "Absolutely! A dog is on the left.", ["cat"], ["No!", "No."]),
    (DOG, "Indeed, there is a dog.", ["cat"], ["No, there is no dog."]),
    (DOG, "Sure, there's one.", ["cat"], ["No, there's none.", "No."]),
    (DOG, "Correct.", ["cat"], ["No."]),
    (DOG, "Correct.", ["dog"], ["Correct."]),
    (DOG, "There is.", ["cat"], ["No."]),
    (DOG, "There isn't.", ["dog"], ["Yes."]),
    ("Can you see a dog?", "I do. It is brown.", ["cat"], ["No."]),
    ("Do you see a dog?", "I don't.", ["dog"], ["Yes."]),
    (DOG, "(A) Yes", ["cat"], ["(A) No"]),
    (DOG, "A) no", ["dog"], ["A) yes"]),
    # a clause that only affirms what was asked
    (DOG, "There is a dog on the left.", ["cat"], ["No."]),
    (DOG, "The image contains a dog.", ["cat"], ["No."]),
    (DOG, "A cat sits here.", ["dog"], ["Nothing that the answer named could be confirmed in the picture."]),
    ("What is there?", "A dog.", ["cat"], ["Nothing that the answer named could be confirmed in the picture."]),
    ("What is on the couch?", "Indeed, a dog and a cat.", ["cat"], ["A cat.", "Indeed, a cat."]),
    # a true answer stays, whatever it says beside
    (DOG, "No, there is no dog.", ["cat"], ["No, there is no dog."]),
    (DOG, "Yes, there is one.", ["dog"], ["Yes, there is one."]),
]  # fmt: skip


@pytest.mark.parametrize(("question", "text", "objects", "right"), CASES, ids=[f"{q} {a}" for q, a, *_ in CASES])
def test_word_and_clause_agree(question, text, objects, right):
    answer = correct(text, 1, KnownObjects({1: objects}), question)
    assert apply_edits(text, answer.edits) == answer.text
    assert answer.text in right


@pytest.mark.parametrize(
    "question",
    ["Is the dog sleeping?", "Is the dog brown?", "Is the dog on the couch?", "Are there any dogs wearing hats?"],
)
def test_a_no_about_what_a_thing_does_or_is_like_does_not_deny_the_thing(question):
    assert correct("No.", 1, KnownObjects({1: ["dog"]}), question).text == "No."


@pytest.mark.parametrize(
    "question",
    [
        "Is there a dog?",
        "Is the dog in the image?",
        "Do you see a dog?",
        "Can a dog be seen?",
        "Does the image show a dog?",
    ],
)
def test_a_no_about_presence_denies_the_thing(question):
    assert correct("No.", 1, KnownObjects({1: ["dog"]}), question).text == "Yes."


def test_a_sentence_of_which_only_the_answer_may_stay_ends():
    answer = correct(
        "No, the dog is awake, playing with a frisbee.", 1, KnownObjects({1: ["dog"]}), "Is the dog asleep?"
    )
    assert answer.text == "No, the dog is awake."


def test_a_description_after_a_comma_goes_with_its_object():
    answer = correct("Yes, there is a dog in the image, lying next to a couch.", 1, KnownObjects({1: ["couch"]}))
    assert answer.text == "No, there is no dog. There is a couch."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "No, there are no people in the image, only a dog and a cat.",
            "No, there are no people in the image, only a dog.",
        ),
        ("The animals in the image are a dog and a cat.", "The animal in the image is a dog."),
        ("The main subjects are a dog and a cat.", "The main subject is a dog."),
    ],
)
def test_verbs_agree_with_what_is_left(text, expected):
    assert correct(text, 1, KnownObjects({1: ["dog"]})).text == expected
