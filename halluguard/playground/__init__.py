"""Serve a local web page to ask about an image, move the imagination setting, and see claims with their evidence.

    image, question, imagination, method ──► [session] Guard ──► Reply: answer, claims, boxes ──► [views] HTML
                                                                           [page] Gradio ──► [start] http://127.0.0.1

`session` and `views` need no Gradio. `page` and `start` need the extra `play`.
"""

from halluguard.playground.session import IMAGINATION, Evidence, Reply, Session

__all__ = ["IMAGINATION", "Evidence", "Reply", "Session"]
