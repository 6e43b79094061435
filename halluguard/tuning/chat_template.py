"""Make a chat template fit for training: it must begin and end as generation does."""

from __future__ import annotations

from typing import Any

from transformers import ProcessorMixin

from halluguard.chat_templates import render_chat, template_errors


def trainable(processor: ProcessorMixin) -> ProcessorMixin:
    """Make the chat template write the start token that the tokenizer adds, and an end token after each answer.

    Some templates (LLaVA-1.5's) write neither: a model trained on them never sees where to stop, and sees prompts
    without the start token that inference has. A template that writes both is left unchanged.

    Args:
        processor: a processor with a chat template. It is changed in place, so a model saved with it keeps the change.

    Returns:
        The processor.
    """
    tokenizer = processor.tokenizer
    question: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "text", "text": "a"}]}]
    dialogue = [*question, {"role": "assistant", "content": [{"type": "text", "text": "b"}]}]
    prompt = render_chat(processor, question)
    with template_errors(processor):
        whole = str(processor.apply_chat_template(dialogue))
    ends = not whole.rstrip().endswith("b")  # something is written after the answer
    adds_start = tokenizer(prompt).input_ids[:1] == [tokenizer.bos_token_id] and tokenizer.bos_token is not None
    begins = not adds_start or prompt.startswith(tokenizer.bos_token)
    if ends and begins:
        return processor
    body = str(processor.chat_template)
    start = "" if begins else "{{ bos_token }}"
    if ends:
        processor.chat_template = start + body
    else:
        answered = "messages[-1]['role'] == 'assistant'"
        processor.chat_template = (
            f"{{% set body %}}{body}{{% endset %}}{start}"
            f"{{% if {answered} %}}{{{{ body.rstrip() }}}}{{{{ eos_token }}}}{{% else %}}{{{{ body }}}}{{% endif %}}"
        )
    if start:
        # The tokenizer would add the start token once more where a text is tokenised with special tokens.
        tokenizer.add_bos_token = False
        tokenizer.backend_tokenizer.post_processor = None
    return processor
