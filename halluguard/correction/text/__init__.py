"""Read an answer: its language, its parse, the boxes written into it."""
