"""Hold conversations about images: two images, a few-shot prompt, a model that thinks, and a clip of eight frames.

    python examples/conversations.py

Everything runs on the sandbox, offline.
"""

from halluguard import Guard, sandbox

guard = Guard.from_pretrained(sandbox.MLLM, detector=sandbox.DETECTOR)
first, second, third = sandbox.scenes(3)

print("Two images, one question, then another one about them:")
messages = [
    {
        "role": "user",
        "content": [
            {"type": "image", "image": first.image},
            {"type": "image", "image": second.image},
            {"type": "text", "text": "Describe the image."},
        ],
    }
]
answer = guard.chat(messages)
print("  ", answer.text)
for verdict in answer.verdicts:
    print(f"     {answer.claims[verdict.claim].phrase:<14} {verdict.decision:<13} {verdict.reason}")
messages += [{"role": "assistant", "content": answer.text}, {"role": "user", "content": "Is there a dog in the image?"}]
print("  ", guard.chat(messages).text)

print("An example before the question; a branch without the asked image keeps the example's:")
examples = [(second.image, "Describe the image.", f"There is a {second.scene.names[0]}.")]
print("  ", guard(first.image, examples=examples, imagination=-0.5, image_free="asked").text)

print("A model that thinks: its thoughts are kept apart, and checked where that is asked for:")
if guard.processor.tokenizer.add_special_tokens({"extra_special_tokens": ["<think>", "</think>"]}):
    guard.model.resize_token_embeddings(len(guard.processor.tokenizer), mean_resizing=False)
begun = guard.processor.tokenizer("<think>", add_special_tokens=False).input_ids[0]
ended = guard.processor.tokenizer("</think>", add_special_tokens=False).input_ids[0]


def script(_: int, ids: object) -> list[int]:
    """The tokens that may come next: the sandbox model never learnt to think, so its tags are forced."""
    tokens = ids.tolist()  # type: ignore[attr-defined]
    written = tokens[len(tokens) - tokens[::-1].index(colon) :]
    return [begun] if not written else [ended] if len(written) == 13 else words


colon = guard.processor.tokenizer(":", add_special_tokens=False).input_ids[0]
words = [i for i in range(len(guard.processor.tokenizer)) if i not in (begun, ended, colon)]
answer = guard(third.image, prefix_allowed_tokens_fn=script, audit_thinking=True)
print("   thinking:", answer.thinking)
print("   checked: ", answer.thoughts.text if answer.thoughts else "")
print("   answer:  ", answer.text)

print("A clip of eight frames; a verdict says at which second its evidence was seen:")
frames = [scene.image for scene in (first, second) for _ in range(4)]
clip = {"type": "video", "video": frames, "fps": 0.5}
answer = guard.chat([{"role": "user", "content": [clip, {"type": "text", "text": "Is there a dog in the image?"}]}])
print("  ", answer.text, *[verdict.reason for verdict in answer.verdicts])

print("Sentence by sentence, while the model writes:")
for piece in guard.stream(first.image, imagination=-0.5):
    print("  ", piece.strip())
