"""POPE: laws, readings of answers, and equality with the official files."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from halluguard.errors import InputError, SettingsError
from halluguard.metrics import pope
from halluguard.metrics.ground_truth import image_key, read_objects
from halluguard.metrics.stats import UndefinedScoreWarning

OBJECTS = {
    1: ["dog", "cat", "bed"],
    2: ["dog", "car", "bus"],
    3: ["dog", "cat", "car", "person"],
    4: ["person", "bus", "bed", "cup", "fork"],
    5: ["dog"],
}


@pytest.fixture
def asked() -> list[pope.Question]:
    return pope.build_questions(OBJECTS, "popular")


def answered(questions, say) -> dict[str, str]:
    return {q.question_id: say(q) for q in questions}


class TestQuestions:
    @pytest.mark.parametrize("kind", ["random", "popular", "adversarial"])
    def test_labels_alternate_and_are_true(self, kind):
        for position, q in enumerate(pope.build_questions(OBJECTS, kind)):
            assert q.label == ("no" if position % 2 else "yes")
            assert (q.object in OBJECTS[int(q.image)]) == (q.label == "yes")

    @pytest.mark.parametrize("kind", ["random", "popular", "adversarial"])
    def test_nothing_is_asked_twice_of_an_image(self, kind):
        pairs = [(q.image, q.object) for q in pope.build_questions(OBJECTS, kind)]
        assert len(set(pairs)) == len(pairs)

    def test_images_with_few_objects_are_left_out(self, asked):
        assert {q.image for q in asked} == {"1", "2", "3", "4"}

    def test_popular_asks_for_the_most_frequent_first(self, asked):
        assert [q.object for q in asked if q.image == "4" and q.label == "no"] == ["dog", "cat", "car"]

    def test_adversarial_asks_for_the_companion(self):
        questions = pope.build_questions(OBJECTS, "adversarial")
        assert questions[0].object == "dog"
        assert questions[1].object == "car"

    def test_a_seed_decides_random_questions(self):
        assert pope.build_questions(OBJECTS, "random", 1) == pope.build_questions(OBJECTS, "random", 1)
        assert len({tuple(pope.build_questions(OBJECTS, "random", seed)) for seed in range(8)}) > 1

    def test_vowels_take_an_and_image_stays_image(self):
        assert pope.ask("orange") == "Is there an orange in the image?"

    def test_bad_settings(self):
        with pytest.raises(SettingsError, match="random"):
            pope.build_questions(OBJECTS, "hard")  # type: ignore[arg-type]
        with pytest.raises(SettingsError, match="lower images"):
            pope.build_questions(OBJECTS, "random", images=9)
        with pytest.raises(InputError, match="no object that is absent"):
            pope.build_questions({1: ["dog", "cat", "bed"]}, "popular")
        with pytest.raises(InputError, match="must differ"):
            pope.build_questions({1: ["dog", "dog", "bed"]}, "popular")


class TestScore:
    def test_the_definition_by_hand(self, asked):
        wrong = {asked[0].question_id, asked[1].question_id, asked[3].question_id}
        right = answered(asked, lambda q: "Yes" if (q.label == "yes") != (q.question_id in wrong) else "No")
        result = pope.score(asked, right, resamples=0)
        assert [result.counts[name] for name in ("TP", "FP", "TN", "FN")] == [11, 2, 10, 1]
        assert result["acc"] == 21 / 24
        assert result["precision"] == 11 / 13
        assert result["recall"] == 11 / 12
        assert result["f1"] == pytest.approx(2 * 11 / (13 + 12))
        assert result["yes_ratio"] == 13 / 24

    def test_order_of_answers_does_not_matter(self, asked):
        answers = answered(asked, lambda q: "Yes" if len(q.text) % 2 else "No")
        backwards = dict(reversed(answers.items()))
        assert pope.score(asked, answers).to_dict() == pope.score(asked, backwards).to_dict()

    def test_always_no_is_0_with_a_warning(self, asked):
        with pytest.warns(UndefinedScoreWarning, match="precision"):
            result = pope.score(asked, answered(asked, lambda q: "No"), resamples=0)
        assert (result["acc"], result["f1"], result["yes_ratio"]) == (0.5, 0, 0)

    def test_answers_that_say_neither_are_counted(self, asked):
        result = pope.score(asked, answered(asked, lambda q: "Perhaps." if q.label == "no" else "Yes."), resamples=0)
        assert result.counts["neither"] == 12
        assert result["yes_ratio"] == 1  # the official reading takes anything but no for yes

    def test_auc_is_perfect_when_the_margin_knows_and_unmoved_by_a_lean(self, asked):
        margins = {q.question_id: 2.0 * (q.label == "yes") - 9 for q in asked}
        result = pope.score(asked, answered(asked, lambda q: "Yes"), logits=margins, resamples=50)
        assert result["auc"] == 1
        assert result.intervals["auc"] == (1, 1)

    def test_equal_margins_tell_nothing(self, asked):
        result = pope.score(
            asked, answered(asked, lambda q: "Yes"), logits={q.question_id: 1.0 for q in asked}, resamples=0
        )
        assert result["auc"] == 0.5

    def test_mcnemar_counts_where_two_runs_part(self, asked):
        perfect = pope.score(asked, answered(asked, lambda q: q.label), resamples=0)
        always = pope.score(asked, answered(asked, lambda q: "Yes"), resamples=0)
        assert pope.mcnemar(always, perfect) == {"only_first": 0, "only_second": 12, "p": pytest.approx(2 * 0.5**12)}

    def test_answers_must_cover_the_questions(self, asked):
        answers = answered(asked, lambda q: "Yes")
        with pytest.raises(InputError, match="1 for no question, such as 99"):
            pope.score(asked, {**answers, 99: "Yes"})
        del answers["7"]
        with pytest.raises(InputError, match="1 missing, such as 7"):
            pope.score(asked, answers)

    def test_two_answers_to_one_question(self, asked):
        pairs = [*answered(asked, lambda q: "Yes").items(), (1, "No")]
        with pytest.raises(InputError, match="two for question 1"):
            pope.score(asked, pairs)

    def test_an_answer_must_be_a_string(self, asked):
        with pytest.raises(InputError, match="must be a string"):
            pope.score(asked, answered(asked, lambda q: None))

    def test_no_questions_or_unknown_parser(self, asked):
        with pytest.raises(InputError, match="at least one"):
            pope.score([], {})
        with pytest.raises(SettingsError, match="official"):
            pope.score(asked, answered(asked, lambda q: "Yes"), parser="mine")


class TestFiles:
    def test_questions_and_answers_are_read(self, write_lines, asked):
        questions = pope.read_questions(write_lines([q.to_dict() for q in asked], "q.jsonl"))
        assert questions == asked
        answers = pope.read_answers(
            write_lines([{"question_id": 1, "answer": "Yes"}, {"question_id": 2, "text": "No"}])
        )
        assert answers == {"1": "Yes", "2": "No"}

    @pytest.mark.parametrize(
        ("rows", "says"),
        [
            (["{"], "line 1"),
            ([{"question_id": 1, "image": "a", "text": "?", "label": "maybe"}], "yes or no"),
            ([{"question_id": 1, "image": "a", "text": "?", "label": "no"}] * 2, "already used on line 1"),
            ([{"question_id": 1, "image": "a", "label": "no"}], "'text'"),
            ([], "empty"),
        ],
    )
    def test_bad_question_files(self, write_lines, rows, says):
        with pytest.raises(InputError, match=says):
            pope.read_questions(write_lines(rows))

    def test_bad_answer_files(self, write_lines):
        with pytest.raises(InputError, match="line 2: a second answer"):
            pope.read_answers(write_lines([{"question_id": 1, "answer": "Yes"}] * 2))
        with pytest.raises(InputError, match="must be a string"):
            pope.read_answers(write_lines([{"question_id": 1, "answer": None}]))


@pytest.mark.reference
class TestOfficial:
    @pytest.mark.parametrize(
        ("parser", "key"),
        [
            ("official", "official"),
            ("opera", "opera_pai_sid"),
            ("vlmevalkit", "vlmevalkit"),
            ("lmms-eval", "lmms_eval"),
        ],
    )
    def test_parsers_that_read_the_answer(self, reference_data, parser, key):
        for case in json.loads((reference_data / "expected" / "pope_answers.json").read_text())["answers"]:
            expected = {"yes": "yes", "no": "no"}.get(str(case[key]).lower(), "neither")
            assert pope.parse(case["answer"], parser, case["label"]) == expected, case["answer"]

    def test_the_parser_that_reads_the_label(self, reference_data):
        for case in json.loads((reference_data / "expected" / "pope_answers.json").read_text())["answers"]:
            right_yes = pope.parse(case["answer"], "vcd", "yes") == "yes"
            right_no = pope.parse(case["answer"], "vcd", "no") == "no"
            assert right_yes == case["vcd"]["counts_as_yes_when_label_yes"], case["answer"]
            assert right_no == case["vcd"]["counts_as_no_when_label_no"], case["answer"]

    @pytest.mark.parametrize("kind", ["random", "popular", "adversarial"])
    def test_official_files_are_recognised(self, reference_data, kind):
        questions = pope.read_questions(reference_data / f"pope/coco_pope_{kind}.json")
        assert len(questions) == 3000
        assert pope.file_version(questions) == f"coco-{kind}"

    @pytest.fixture
    def official(self, reference_data):
        """The official files, and the objects of their images with the official positives first."""
        files = {
            k: pope.read_questions(reference_data / f"pope/coco_pope_{k}.json")
            for k in ("random", "popular", "adversarial")
        }
        truth = read_objects(reference_data / "coco_gt_objects.json.gz")
        first: dict[str, list[str]] = {}
        for q in files["popular"]:
            first.setdefault(q.image, [])
            if q.label == "yes":
                first[q.image].append(q.object or "")
        objects = {image: names + sorted(set(truth[image_key(image)]) - set(names)) for image, names in first.items()}
        return files, objects

    def test_popular_questions_are_the_official_ones(self, official):
        files, objects = official
        built = pope.build_questions(objects, "popular")
        assert [(q.image, q.object, q.label) for q in built] == [(q.image, q.object, q.label) for q in files["popular"]]
        assert [q.text for q in built] == [q.text for q in files["popular"]]

    def test_positives_are_the_same_in_every_kind(self, official):
        files, objects = official
        for kind, file in files.items():
            built = pope.build_questions(objects, kind)
            assert [(q.image, q.object) for q in built[::2]] == [(q.image, q.object) for q in file[::2]]

    def test_adversarial_negatives_have_the_official_company(self, official):
        files, objects = official
        together: dict[str, Counter[str]] = {}
        for names in objects.values():
            for name in names:
                together.setdefault(name, Counter()).update(other for other in names if other != name)
        built = pope.build_questions(objects, "adversarial")
        worse = 0
        for i in range(0, len(built), 2):
            positive = built[i].object
            ours, theirs = built[i + 1].object, files["adversarial"][i + 1].object
            asked = {q.object for q in built if q.image == built[i].image and int(q.question_id) <= i}
            free = [n for o, n in together[positive].items() if o not in objects[built[i].image] and o not in asked]
            assert together[positive][ours] == max(free, default=0)
            worse += together[positive][theirs] > together[positive][ours]
        assert worse == 0
