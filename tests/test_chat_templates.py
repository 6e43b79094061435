"""Chat templates come with checkpoints: none works for ever, and none makes gigabytes."""

import copy
import json
import time

import pytest
from jinja2.exceptions import TemplateError
from PIL import Image
from transformers.utils.chat_template_utils import _compile_jinja_template

from halluguard import Guard, UnsupportedModelError, chat_templates, sandbox
from halluguard.chat_templates import TemplateLimitError
from halluguard.correction.rewriting.llm_rewriter import ChatModel
from halluguard.detectors.questions import VisualQuestions
from halluguard.doctor import examine
from halluguard.tuning.chat_template import trainable

RED = Image.new("RGB", (64, 64), "red")

QWEN = """{% set image_count = namespace(value=0) %}{% for message in messages %}{% if loop.first and
message['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{
message['role'] }}\n{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}{% for content in
message['content'] %}{% if content['type'] == 'image' %}{% set image_count.value = image_count.value + 1 %}{%
if add_vision_id %}Picture {{ image_count.value }}: {% endif %}<|image_pad|>{% elif 'text' in content %}{{
content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt
%}<|im_start|>assistant\n{% endif %}"""
TOOLS = """{%- macro describe(name, value) -%}{%- if value is mapping -%}{{ name ~ ':{' }}{%- for key, inner in
value|dictsort -%}{{ describe(key, inner) }}{%- if not loop.last %},{% endif -%}{%- endfor -%}{{ '}' }}{%- else -%}{{
name ~ '=' ~ value|tojson }}{%- endif -%}{%- endmacro -%}{% set system, rest = messages[0], messages[1:] %}{% for message
in rest[::-1] %}{{ '%-10s|' % message.role + message.content|join('; ', attribute='text') + loop.length|string }}{%
endfor %}{{ ('{:>8}' ~ '.').format(messages|length) }}{{ describe('tools', {'a': {'b': [1, 2]}}) }}{% for n in range(3)
%}{{ loop.cycle('x', 'y') * n }}{% if loop.index == 2 %}{% break %}{% endif %}{% endfor %}{{
messages|selectattr('role', 'equalto', 'user')|map(attribute='role')|list|join('+') }}{% generation %}!{% endgeneration %}"""
MESSAGES = [
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is this?"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "A dog."}]},
]


@pytest.mark.parametrize("template", [QWEN, TOOLS])
def test_templates_render_as_in_the_sandbox_of_transformers(template, monkeypatch):
    rendered = _compile_jinja_template(template).render(messages=MESSAGES, add_generation_prompt=True)
    unbounded = chat_templates.ImmutableSandboxedEnvironment
    monkeypatch.setattr("transformers.utils.chat_template_utils.ImmutableSandboxedEnvironment", unbounded)
    own = _compile_jinja_template.__wrapped__(template) if hasattr(_compile_jinja_template, "__wrapped__") else None
    own = own or _compile_jinja_template(template + "{# #}")
    assert not isinstance(own.environment, chat_templates.BoundedEnvironment)
    assert rendered == own.render(messages=MESSAGES, add_generation_prompt=True)
    assert "A dog." in rendered


R = "{% set r = range(99999) %}"
DOUBLING = "{% set h = namespace(x='ab') %}{% for i in range(60) %}{% set h.x = EXPR %}{% endfor %}{{ h.x }}"
HOSTILE = {
    "nested loops": R + "{% for i in r %}{% for j in r %}{% for k in r %}{% endfor %}{% endfor %}{% endfor %}",
    "a loop that writes": R + "{% for i in r %}{% for j in r %}{{ 'x' * 999 }}{% endfor %}{% endfor %}",
    "a long range": "{% for i in range(10 ** 9) %}{% endfor %}",
    "recursive loops": R + "{% for i in r recursive %}{{ loop(r) }}{% endfor %}",
    "a macro that calls itself": "{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}",
    "a macro that branches": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "doubled texts": DOUBLING.replace("EXPR", "h.x ~ h.x"),
    "added texts": DOUBLING.replace("EXPR", "h.x + h.x"),
    "doubled lists": DOUBLING.replace("EXPR", "[h.x, h.x]"),
    "doubled dictionaries": DOUBLING.replace("EXPR", "{'a': h.x, 'b': h.x}"),
    "doubled tuples": DOUBLING.replace("EXPR", "(h.x, h.x)"),
    "doubled namespaces": DOUBLING.replace("EXPR", "namespace(a=h.x, b=h.x)"),
    "replaced texts": DOUBLING.replace("EXPR", "h.x.replace('a', h.x)"),
    "replaced by a filter": DOUBLING.replace("EXPR", "h.x|replace('a', h.x)"),
    "joined texts": DOUBLING.replace("EXPR", "h.x.join(h.x)"),
    "joined by a filter": DOUBLING.replace("EXPR", "h.x|join(h.x)"),
    "formatted texts": DOUBLING.replace("EXPR", "'%s%s' % (h.x, h.x)"),
    "texts in braces": DOUBLING.replace("EXPR", "'{0}{0}'.format(h.x)"),
    "a set block": DOUBLING.replace(
        "{% set h.x = EXPR %}", "{% set t %}{{ h.x }}{{ h.x }}{% endset %}{% set h.x = t %}"
    ),
    "a product": "{{ 'a' * 10 ** 10 }}",
    "a product of lists": "{{ ([1] * 10 ** 9)|length }}",
    "a power": "{{ 10 ** (10 ** 10) }}",
    "a power of a variable": "{% set n = messages|length %}{{ (n + 8) ** ((n + 8) ** 12) }}",
    "a width": "{{ 'a'|center(10 ** 10) }}",
    "a width of a method": "{{ 'a'.ljust(10 ** 10) }}",
    "a width in a format": "{{ '%10000000000d' % 1 }}",
    "a width that is a value": "{{ '%*d' % (10000000000, 1) }}",
    "a width in braces": "{{ '{:>10000000000}'.format(1) }}",
    "a value as width in braces": "{{ '{:>{w}}'.format(1, w=10000000000) }}",
    "an indent": "{{ messages|tojson(indent=10 ** 9) }}",
    "bytes": "{{ 'a'.encode().center(10 ** 10)|length }}",
    "many words": "{{ lipsum(n=10 ** 9) }}",
    "rounding": "{{ 1.5|round(10 ** 9) }}",
    "a table of characters": "{% set x = 'a' * 9999999 %}{{ x.translate({97: x}) }}",
    "a long template": "{# " + "x" * 1_000_001 + " #}",
    "a deep template": "{{ " + "(" * 50_000 + "1" + ")" * 50_000 + " }}",
    "many blocks": "{% for i in messages %}" * 60 + "{% endfor %}" * 60,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_templates_are_refused(kind, monkeypatch):
    monkeypatch.setattr(chat_templates, "MAX_SECONDS", 0.5)
    started = time.perf_counter()
    with pytest.raises((TemplateError, OverflowError, RecursionError)):  # the last two are transformers' own bounds
        _compile_jinja_template(HOSTILE[kind]).render(messages=MESSAGES)
    assert time.perf_counter() - started < 20


def test_a_long_conversation_is_rendered():
    texts = [f"{i} " + "word " * 20_000 for i in range(40)]
    messages = [{"role": "user", "content": [{"type": "text", "text": text}]} for text in texts]
    prompt = _compile_jinja_template(QWEN).render(messages=messages, add_generation_prompt=True)
    assert all(text in prompt for text in texts)
    assert json.loads(_compile_jinja_template("{{ messages|tojson }}").render(messages=messages)) == messages


@pytest.fixture
def looping(monkeypatch):
    """A model and a processor whose chat template has no end."""
    monkeypatch.setattr(chat_templates, "MAX_SECONDS", 0.2)
    model, processor = sandbox.load_mllm()
    processor = copy.deepcopy(processor)
    processor.chat_template = HOSTILE["nested loops"] + str(processor.chat_template)
    processor.tokenizer.chat_template = processor.chat_template
    return model, processor


DOORS = {
    "an answer": lambda model, processor: Guard(model, processor)(RED, "What is this?"),
    "a conversation": lambda model, processor: Guard(model, processor).chat(
        [{"role": "user", "content": [{"type": "image", "image": RED}, {"type": "text", "text": "What is this?"}]}]
    ),
    "a question of a detector": lambda model, processor: VisualQuestions(model, processor).answer_probabilities(
        RED, "Is it red?"
    ),
    "a rewriting": lambda model, processor: ChatModel(model, processor.tokenizer)(
        [{"role": "user", "content": "A dog."}]
    ),
    "a training": lambda model, processor: trainable(processor),
    "the doctor": lambda model, processor: examine(model, processor),
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_refuses_a_template_without_end(door, looping):
    with pytest.raises(UnsupportedModelError, match="runs for more than"):
        DOORS[door](*looping)


def test_the_limit_is_named():
    with pytest.raises(TemplateLimitError, match="more than 16,7"):
        _compile_jinja_template(HOSTILE["a product"]).render(messages=[])
