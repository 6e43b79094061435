"""OPERA's returns: the rule on attention maps, computed by hand, and whole searches compared with a slow one.

The slow one keeps a snapshot of every step and returns to it, as the authors' code does; the method runs the search of
transformers again instead.
"""

import math
from dataclasses import dataclass, field

import pytest
import torch

from halluguard.decoding.engine import retrospection
from halluguard.decoding.methods import opera
from halluguard.decoding.methods.opera import OPERA

TEXTS = [[5, 6, 7, 8, 9, 10, 11], [12, 13, 14]]
NEW = 26
SETTINGS = {"alpha": 2.0, "candidates": 3, "sigma": 30.0, "threshold": 2}


# --- the rule -----------------------------------------------------------------------------------------------------


def most_trusted(maps, sigma):
    """argmax_j prod_{i >= j} sigma w_ij of a square map, as the authors write it."""
    size = len(maps)
    products = [math.prod(sigma * maps[i][j] for i in range(j, size)) for j in range(size)]
    return products.index(max(products))


def test_the_most_trusted_column_of_a_map():
    # column 1 is leaned on by all that follow: 0.5 * 0.3 * 0.3 against 0.2 * 0.2 (column 2) and 0.4 (column 3), sigma 50
    maps = [[0.4, 0, 0, 0], [0.02, 0.5, 0, 0], [0.02, 0.3, 0.2, 0], [0.02, 0.3, 0.2, 0.4]]
    assert most_trusted(maps, 50) == 1
    assert most_trusted(maps, 1) == 3  # unscaled, the shortest product wins
    for sigma in (50.0, 1.0):
        products = torch.zeros(1, 0)
        for i, row in enumerate(maps):
            products = opera.extended(products, torch.tensor([row[: i + 1]]), sigma)
        assert int(products.argmax(-1)) == most_trusted(maps, sigma)


@pytest.mark.parametrize(
    ("trusted", "threshold", "summary"),
    [
        ([[3, 11, 11, 11]], 2, 11),
        ([[3, 11, 11, 11]], 3, None),  # three times is not more than three
        ([[3, 9, 9, 9]], 2, None),  # of the first ten
        ([[11, 12, 11, 13, 11]], 2, 11),  # not one after another
        ([[11, 11, 11, 12]], 2, None),  # the one that is trusted now counts
        ([[11, 11, 11], [11, 10, 11]], 2, None),  # every beam
        ([[11, 11, 11, 12], [11, 11, 11, 11], [11, 11, 11, 11]], 2, 11),  # a beam may trust another now
        ([[12, 12, 12], [11, 11, 11]], 2, None),
    ],
)
def test_when_a_column_is_a_summary_token(trusted, threshold, summary):
    assert retrospection.summary_token(torch.tensor(trusted), threshold) == summary


def test_a_place_is_returned_to_a_limited_number_of_times():
    search = retrospection.Search(slice(0, 1), limit=2)
    chosen = [(torch.tensor([0]), torch.tensor([token])) for token in range(30)]
    assert [search.turns(12, chosen) for _ in range(5)] == [True, True, True, True, False]
    assert search.times == {13: 2, 12: 2}
    assert search.known == 13
    assert list(search.banned) == [12], "what was banned later than the place is forgotten"


# --- whole searches -----------------------------------------------------------------------------------------------


@dataclass
class Slow:
    """One prompt's search from the formulas, every sequence read whole, with a snapshot of each step to return to."""

    tiny: object
    inputs: dict
    beams: int
    settings: dict
    returns: list = field(default_factory=list)
    read: dict = field(default_factory=dict)

    def forward(self, tokens):
        """Last logits and the last layer's attention, maximum over heads and renormalised, of prompt and answer."""
        if tokens not in self.read:
            ids = torch.cat([self.inputs["input_ids"], torch.tensor([tokens], dtype=torch.long)], 1)
            out = self.tiny.model(
                input_ids=ids, pixel_values=self.inputs["pixel_values"], output_attentions=True, use_cache=False
            )
            weights = out.attentions[-1][0].amax(0)
            self.read[tokens] = out.logits[0, -1], weights / weights.sum(-1, keepdim=True)
        return self.read[tokens]

    def judged(self, tokens):
        logits, _ = self.forward(tokens)
        best = logits.topk(self.settings["candidates"])
        scores, columns = torch.full_like(logits, -math.inf), []
        for value, token in zip(best.values, best.indices.tolist(), strict=True):
            _, weights = self.forward((*tokens, token))
            size = len(tokens) + 1
            local = (self.settings["sigma"] * weights[-size:, -size:]).double()
            products = torch.stack([local[j:, j].prod() for j in range(size)])
            columns.append(int(products.argmax()))
            picture = weights[-1, : self.inputs["input_ids"].shape[1]][self.inputs["input_ids"][0] == 900].sum()
            charged = -picture if size <= 10 else 1e-7 * products.max()
            scores[token] = value - self.settings["alpha"] * charged
        return scores, mode(columns)

    def run(self, new):
        beams = [((), 0.0 if b == 0 else -1e9) for b in range(self.beams)]
        states, choices, times, banned = [], [], {}, {}
        while (step := len(states)) < new:
            judged = [self.judged(tokens) for tokens, _ in beams]
            states.append((beams, [column for _, column in judged]))
            scores = torch.stack([s for s, _ in judged])
            place = self.place([columns for _, columns in states], times)
            if place is not None:
                self.returns.append((step, place))
                times[place] = times.get(place, 0) + 1
                banned = {at: pairs for at, pairs in banned.items() if at <= place}
                banned.setdefault(place, []).extend(choices[place])
                states, choices = states[: place + 1], choices[:place]
                beams = states[place][0]
                scores = torch.stack([self.forward(tokens)[0] for tokens, _ in beams]).clone()
                for beam, token in banned[place]:
                    scores[beam, token] = -math.inf
            total = scores.log_softmax(-1) + torch.tensor([score for _, score in beams])[:, None]
            top = total.flatten().topk(self.beams)
            pairs = [divmod(int(i), total.shape[1]) for i in top.indices]
            choices.append(pairs)
            beams = [
                ((*beams[beam][0], token), float(value)) for (beam, token), value in zip(pairs, top.values, strict=True)
            ]
        return list(beams[0][0])

    def place(self, columns, times):
        summary = mode(columns[-1])
        counts = [sum(row[b] == summary for row in columns) for b in range(self.beams)]
        if summary < self.settings["first"] or min(counts) <= self.settings["threshold"]:
            return None
        return next((p for p in (summary + 1, summary) if times.get(p, 0) < self.settings["candidates"]), None)


def mode(values):
    return min(set(values), key=lambda v: (-values.count(v), v))


@pytest.fixture(scope="module")
def leaning(architectures):
    """A model whose last layer attends so sharply that single tokens are leaned on."""
    tiny = architectures.llava()
    with torch.no_grad():
        tiny.model.model.language_model.layers[-1].self_attn.q_proj.weight.mul_(12)
    tiny.model.set_attn_implementation("eager")
    return tiny


@pytest.fixture(scope="module")
def slow(leaning):
    """The slow search's answers to each prompt, and where it went back (at step, to step)."""
    made = {}

    @torch.inference_mode()
    def answers(beams, first):
        if (beams, first) not in made:
            searches = [
                Slow(leaning, leaning.prompt([text], seed=1 + i), beams, {**SETTINGS, "first": first})
                for i, text in enumerate(TEXTS)
            ]
            made[beams, first] = [search.run(NEW) for search in searches], [search.returns for search in searches]
        return made[beams, first]

    return answers


@pytest.fixture
def returns(monkeypatch):
    """Every return of the method, as it happens: the sequences of its search, and the step it goes back to."""
    heard, turns = [], retrospection.Search.turns

    def turning(self, summary, chosen):
        went = turns(self, summary, chosen)
        if went:
            heard.append((self.rows.start, self.known - 1))
        return went

    monkeypatch.setattr(retrospection.Search, "turns", turning)
    return heard


def answers_of(tiny, method, inputs, **settings):
    settings = {"max_new_tokens": NEW, "do_sample": False, **settings}
    return method.on(tiny.model).generate(**inputs, **settings)[:, inputs["input_ids"].shape[1] :].tolist()


@pytest.mark.parametrize("first", [10, 4])
@pytest.mark.parametrize("beams", [1, 2, 3])
def test_a_batch_goes_back_as_the_slow_search_of_each_prompt(leaning, slow, returns, monkeypatch, beams, first):
    monkeypatch.setattr(retrospection, "FIRST", first)
    expected, expected_returns = slow(beams, first)
    assert any(expected_returns), "the searches must go back, or nothing is shown"
    assert answers_of(leaning, OPERA(**SETTINGS), leaning.prompt(TEXTS), num_beams=beams) == expected
    for i, went in enumerate(expected_returns):
        assert [step for row, step in returns if row == i * beams] == [step for _, step in went]
    times = [went.count(place) for went in (r for r in ([p for _, p in e] for e in expected_returns)) for place in went]
    assert max(times) <= SETTINGS["candidates"]


@pytest.mark.parametrize("mode", [{}, {"num_beams": 3}, {"do_sample": True}])
def test_without_a_return_it_is_the_penalty_alone(leaning, returns, mode):
    told = {"output_scores": True, "return_dict_in_generate": True, "max_new_tokens": NEW, "do_sample": False, **mode}
    found = []
    for threshold in (None, NEW):
        torch.manual_seed(3)
        method = OPERA(**{**SETTINGS, "threshold": threshold})
        found.append(method.on(leaning.model).generate(**leaning.prompt(TEXTS), **told))
    assert not returns
    assert torch.equal(found[0].sequences, found[1].sequences)
    assert all(torch.equal(a, b) for a, b in zip(found[0].scores, found[1].scores, strict=True))


def test_repeated_steps_look_nothing_ahead(leaning, slow, monkeypatch):
    counted, decoder = [], type(leaning.model.model.language_model)
    read = decoder.forward

    def reading(self, input_ids=None, inputs_embeds=None, **kwargs):
        fed = input_ids if inputs_embeds is None else inputs_embeds
        counted.append(fed.shape[1] == 1)
        return read(self, input_ids=input_ids, inputs_embeds=inputs_embeds, **kwargs)

    _, (went, _) = slow(1, 10)  # it reads with the model itself, the first time it is asked
    monkeypatch.setattr(decoder, "forward", reading)
    answers_of(leaning, OPERA(**SETTINGS), leaning.prompt(TEXTS[:1]))
    expected, known = 0, 0
    for at, step in [*went, (NEW - 1, None)]:
        expected += at + SETTINGS["candidates"] * (at + 1 - known)
        known = None if step is None else step + 1
    assert sum(counted) == expected
    assert len(counted) - sum(counted) == 1 + len(went), "the prompt is read once a run"


@pytest.mark.parametrize("beams", [1, 3])
def test_a_prompt_that_has_ended_goes_back_no_more(leaning, slow, returns, monkeypatch, beams):
    """Each row of the batch is its own run, also where one ends long before the other."""
    monkeypatch.setattr(retrospection, "FIRST", 4)
    expected, _ = slow(beams, 4)
    went = 0
    for row in (0, 1):
        end = next(token for token in expected[row][8:] if token not in expected[row][:8] + expected[1 - row])
        ending = {"num_beams": beams, "eos_token_id": end}
        batch = answers_of(leaning, OPERA(**SETTINGS), leaning.prompt(TEXTS), **ending)
        together, alone = list(returns), []
        for i, text in enumerate(TEXTS):
            returns.clear()
            one = answers_of(leaning, OPERA(**SETTINGS), leaning.prompt([text], seed=1 + i), **ending)[0]
            alone += [(i * beams, step) for _, step in returns]
            assert batch[i][: len(one)] == one
            assert set(batch[i][len(one) :]) <= {0, end}
        assert sorted(together) == sorted(alone)
        went += len(together)
        returns.clear()
    assert went


def test_sampling_draws_the_same_numbers_again(leaning, returns):
    """Up to the first place it goes back to, the answer is the one the penalty alone draws."""
    inputs, went = leaning.prompt(TEXTS[1:]), 0

    def drawn(seed, threshold):
        torch.manual_seed(seed)
        return answers_of(leaning, OPERA(**{**SETTINGS, "threshold": threshold}), inputs, do_sample=True)[0]

    for seed in range(3):
        returns.clear()
        found = drawn(seed, 2)
        first = min((step for _, step in returns), default=NEW)
        assert drawn(seed, 2) == found
        without = drawn(seed, None)
        assert found[:first] == without[:first]
        went += first < NEW and found[first] != without[first]
    assert went


def test_a_streamer_hears_the_answer_that_stands(leaning, slow, returns):
    from transformers.generation.streamers import BaseStreamer

    class Heard(BaseStreamer):
        tokens, ends = (), 0

        def put(self, value):
            self.tokens += tuple(value.flatten().tolist())

        def end(self):
            self.ends += 1

    heard, inputs = Heard(), leaning.prompt(TEXTS[:1])
    answers_of(leaning, OPERA(**SETTINGS), inputs, streamer=heard)
    assert returns
    assert list(heard.tokens) == inputs["input_ids"][0].tolist() + slow(1, 10)[0][0]
    assert heard.ends == 1


def test_several_returned_sequences(leaning, slow):
    inputs = leaning.prompt(TEXTS)
    both = answers_of(leaning, OPERA(**SETTINGS), inputs, num_beams=3, num_return_sequences=2)
    assert both[::2] == slow(3, 10)[0]
    assert both[0] != both[1]


def test_going_back_leaves_model_and_random_state_alone(leaning, returns):
    inputs = leaning.prompt(TEXTS)
    plain = leaning.model.generate(**inputs, max_new_tokens=NEW, do_sample=False)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    answers_of(leaning, OPERA(**SETTINGS), inputs)
    assert returns
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(leaning.model.generate(**inputs, max_new_tokens=NEW, do_sample=False), plain)


@pytest.mark.parametrize("beams", [1, 2])
def test_a_family_that_encodes_its_images_first_goes_back_too(architectures, returns, monkeypatch, beams):
    monkeypatch.setattr(retrospection, "FIRST", 0)
    tiny, method = architectures.tiny("qwen2_5_vl"), OPERA(**{**SETTINGS, "sigma": 40.0})
    both = answers_of(tiny, method, tiny.prompt(TEXTS), num_beams=beams)
    assert returns
    for i, text in enumerate(TEXTS):
        assert answers_of(tiny, method, tiny.prompt([text], seed=1 + i), num_beams=beams) == both[i : i + 1]
