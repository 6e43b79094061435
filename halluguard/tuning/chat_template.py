"""Chat templates that training can use: they begin and end as generation does."""

from __future__ import annotations

from typing import Any


def trainable(processor: Any) -> Any:
    """Let the processor's chat template write the start token that its tokenizer adds, and an end after each answer.

    Some templates (LLaVA-1.5's) write neither: trained on them, a model never sees where to stop, and sees prompts
    without the start token that inference has. A template that already does is left as it is.

    Args:
        processor: with a chat template; changed in place, and saved with the model from then on.

    Returns:
        The processor.
    """
    tokenizer = processor.tokenizer
    asked = [{"role": "user", "content": [{"type": "text", "text": "a"}]}]
    told = [*asked, {"role": "assistant", "content": [{"type": "text", "text": "b"}]}]
    prompt = processor.apply_chat_template(asked, add_generation_prompt=True)
    whole = processor.apply_chat_template(told)
    ends = not whole.rstrip().endswith("b")  # something is written after the answer
    adds_start = tokenizer(prompt).input_ids[:1] == [tokenizer.bos_token_id] and tokenizer.bos_token is not None
    begins = not adds_start or prompt.startswith(tokenizer.bos_token)
    if ends and begins:
        return processor
    body = processor.chat_template
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
