"""A model of lmms-eval whose answers are those of a Guard: any decoding method or setting, checked or not.

python examples/lmms_eval_model.py --model llava-hf/llava-1.5-7b-hf --tasks pope --imagination -0.5
"""

import argparse
import json

from lmms_eval.api.model import lmms

from halluguard import Guard


class GuardModel(lmms):
    """Answers the generation tasks of lmms-eval; `settings` are arguments of the Guard's call."""

    def __init__(self, guard, **settings):
        super().__init__()
        self.guard, self.settings = guard, {"max_new_tokens": 128, "do_sample": False, **settings}

    def generate_until(self, requests):
        return [self._answer(*request.args) for request in requests]

    def _answer(self, question, options, doc_to_visual, doc_id, task, split):
        images = doc_to_visual(self.task_dict[task][split][doc_id])
        given = {key: options[key] for key in ("max_new_tokens", "num_beams") if options.get(key)}
        text = self.guard(images, question.replace("<image>", "").strip(), **{**self.settings, **given}).text
        for end in options.get("until") or ():
            text = text.split(end)[0] if end else text
        self.cache_hook.add_partial("generate_until", (question, options), text)
        return text

    def loglikelihood(self, requests):
        raise TypeError("a Guard generates answers; choose tasks of lmms-eval that generate, such as pope or mme")

    generate_until_multi_round = loglikelihood


if __name__ == "__main__":
    from lmms_eval.evaluator import simple_evaluate

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="hub name or folder")
    parser.add_argument("--tasks", nargs="+", required=True, help="tasks of lmms-eval")
    parser.add_argument(
        "--imagination", type=float, default=0.0, help="imagination in [-1, 1]; negative is more grounded"
    )
    parser.add_argument("--detector", help="detector that corrects the answers")
    parser.add_argument("--limit", type=int, help="questions per task; default all")
    given = parser.parse_args()
    model = GuardModel(Guard.from_pretrained(given.model, detector=given.detector), imagination=given.imagination)
    print(
        json.dumps(simple_evaluate(model=model, tasks=given.tasks, limit=given.limit)["results"], indent=2, default=str)
    )
