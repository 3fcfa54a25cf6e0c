"""Chat templates are rendered as transformers does it, and can't fill the memory."""

from __future__ import annotations

import tracemalloc

import pytest
import tiny_omni
from mmencode_transformers.templates import MOST, TemplateMemoryError, render
from transformers.utils.chat_template_utils import render_jinja_template

import mmencode
from mmencode.errors import InputError, WeightsError

TURNS = [
    {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
    {"role": "user", "content": [{"type": "image", "image": ""}, {"type": "text", "text": " a red\n boat "}]},
]
TOLD = {"bos_token": "<s>", "add_generation_prompt": True}
FAIR = [
    tiny_omni.CHAT,
    tiny_omni.GEMMA_CHAT,
    # What templates of checkpoints in use are made of.
    "{%- set ns = namespace(seen=0, parts=[]) %}{%- for m in messages %}{%- set ns.seen = ns.seen + 1 %}"
    "{%- if loop.first %}{{ bos_token }}{%- endif %}{{ '[' ~ m['role'] ~ ' ' ~ loop.index ~ ']' }}"
    "{%- for part in m.content if part.type == 'text' %}{{ part.text.strip() | replace('red', 'blue') }}"
    "{%- set ns.parts = ns.parts + [part.text] %}{%- endfor %}{%- endfor %}"
    "{{ ns.seen }} {{ ns.parts | join('|') }} {{ ns.parts[::-1] | length }}"
    "{{ ns.parts | tojson(indent=2) }}",
    "{%- macro turn(m) %}<{{ m.role | upper }}>{{ '%-8s|%s' | format(m.role, m.content | length) }}"
    "{%- endmacro %}{%- for m in messages %}{{ turn(m) }}{{ '-' * 10 }}{{ 'a'.center(9) }}"
    "{{ '{:>6}'.format(m.role) }}{%- endfor %}"
    "{% set kept %}{% for n in range(0, 9, 2) %}{{ n }},{% endfor %}{% endset %}{{ kept }}"
    "{{ kept.split(',') }}"
    "{% if add_generation_prompt %}{% generation %}go{% endgeneration %}{% endif %}{{ tools is none }}",
    "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}"
    "{{ m.content | map(attribute='type') | join(', ') }}{{ m | dictsort | string | truncate(20) }}"
    "{% endfor %}{{ 2 ** 10 }} {{ 7 // 2 }} {{ 7 % 4 }}",
]
DOUBLING = (
    "{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(40) %}{% set ns.x = ROUND %}{% endfor %}"
    "{{ ns.x }}"
)
HOSTILE = [
    "{{ 'x' * 10000000000 }}",
    "{{ 10000000000 * 'x' }}",
    "{{ ['x'] * 1000000000 }}",
    "{{ 10 ** (10 ** 10) }}",
    "{{ 'x' | center(10000000000) }}",
    "{{ 'x'.ljust(10000000000) }}",
    "{{ 'x'.zfill(width=10000000000) }}",
    "{{ '\t'.expandtabs(10000000000) }}",
    "{{ '%10000000000d' % 1 }}",
    "{{ '%*d' % (10000000000, 1) }}",
    "{{ '%*d' | format(10000000000, 1) }}",
    "{{ '{:10000000000}'.format(1) }}",
    "{{ '{:{}}'.format(1, 10000000000) }}",
    "{{ '{0:{1}}'.format_map({'0': 1, '1': 10000000000}) }}",
    "{{ messages | tojson(indent=10000000000) }}",
    "{{ 'a\nb' | indent(10000000000) }}",
    "{{ lipsum(1000000000) }}",
    "{{ 'a' | wordwrap(1, wrapstring='x' * 60000000) ~ 'b' * 60000000 }}",
    "{% set x = 'x' * 60000 %}{{ x | replace('x', x) }}",
    "{% set x = 'x' * 60000 %}{{ x.replace('x', x) }}",
    "{% set x = 'x' * 60000 %}{{ x.replace('', x) }}",
    "{% set x = 'x' * 60000 %}{{ x.join(x) }}",
    "{% set x = 'x' * 60000 %}{{ range(60000) | join(x) }}",
    "{% set x = 'x' * 60000 %}{{ range(60000) | map('string') | join(x) }}",
    "{% set x = 'x' * 60000 %}{{ ('{0}' * 10000).format(x) }}",
    "{% set x = 'x' * 60000 %}{{ ('%(a)s' * 10000) % {'a': x} }}",
    "{% set x = 'x' * 60000 %}{{ x.translate({120: x}) }}",
    "{% set x = 'x' * 6000 %}{% for i in range(99999) %}{{ x }}{% endfor %}",
    "{% set x = 'x' * 6000 %}{% set y %}{% for i in range(99999) %}{{ x }}{% endfor %}{% endset %}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% else %}xxxxxxxx{% endif %}{% endmacro %}"
    "{{ m(30) }}",
    *(DOUBLING.replace("ROUND", each) for each in ("ns.x ~ ns.x", "ns.x + ns.x", "ns.x * 2", "[ns.x, ns.x]")),
    DOUBLING.replace("ROUND", "[ns.x, ns.x] | string"),
    "{% set ns = namespace(x=[]) %}{% for i in range(90000) %}{% for j in range(90000) %}"
    "{% set ns.x = [ns.x, i, j] %}{% endfor %}{% endfor %}",
    "{% set x = 'x' * 60000 %}{% set ns = namespace(x=[]) %}{% for i in range(90000) %}"
    "{% set ns.x = [ns.x, x[1:]] %}{% endfor %}",
]


@pytest.mark.parametrize("template", FAIR)
def test_template_is_rendered_as_transformers_renders_it(template):
    (expected,), _ = render_jinja_template(conversations=[TURNS], chat_template=template, **TOLD)
    assert render(template, TURNS, TOLD) == expected


@pytest.mark.parametrize("template", HOSTILE)
def test_template_that_would_fill_the_memory_is_stopped_before_it_does(template):
    tracemalloc.start()
    try:
        with pytest.raises(TemplateMemoryError):
            render(template, TURNS, TOLD)
        assert tracemalloc.get_traced_memory()[1] < 4 * MOST
    finally:
        tracemalloc.stop()


def test_long_chat_takes_a_small_part_of_what_a_template_may():
    long = [{"role": "user", "content": [{"type": "text", "text": "word " * 20_000}]}] * 20
    assert len(render(tiny_omni.CHAT, long, TOLD)) > 2_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("chatting")
    tiny_omni.qwen3(made)
    return made


@pytest.mark.parametrize("template", ["{{ 'x' * 10000000000 }}", HOSTILE[27]])
def test_checkpoint_whose_template_takes_too_much_is_refused(folder, template, load):
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(WeightsError, match="its chat template makes more than 64 MiB"):
        load(f"transformers/omni/{folder}").tower("text")


def test_template_that_takes_too_much_of_one_text_harms_no_other(folder, load):
    bomb = "{% if 'bomb' in messages[-1].content[0].text %}{{ 'x' * 10000000000 }}{% endif %}"
    (folder / "chat_template.jinja").write_text(bomb + tiny_omni.CHAT)
    space = load(f"transformers/omni/{folder}")
    found = space.encode("text", ["a", "a bomb", "b"], on_error="skip")
    assert found.positions.tolist() == [0, 2]
    assert "chat template makes more than 64 MiB of the item" in str(found.errors[0])
    assert found.errors[0].fault == "limit"
    with pytest.raises(InputError, match="item 1"):
        space.encode("text", ["a", "a bomb"])
    assert isinstance(space, mmencode.Space)
