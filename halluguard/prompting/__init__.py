"""Turn questions and conversations about images into model inputs, and model outputs into drafts.

conversation.py   messages in OpenAI's or Hugging Face's form -> `Conversation`
model_inputs.py   conversations -> the inputs of a model, by its processor
drafting.py       model inputs -> drafts, by the model's `generate`, with or without a decoding method
evidence_images.py   a detector for answers about several images, or the frames of a clip
"""
