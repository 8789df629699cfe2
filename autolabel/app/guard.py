"""What keeps Gradio's bare "Error" off the page: whatever a handler meets becomes a sentence."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from autolabel.app import handlers, html

Update = dict[Any, Any]


def told(
    handler: Callable[..., Any], place: Any = None, more: Update | None = None
) -> Callable[..., Any]:
    """Return a handler that shows what it couldn't do, in place of ending in an exception.

    Args:
        handler: A function or an asynchronous generator of updates; its signature is kept, since
            Gradio reads from it what is passed.
        place: The part of the page that takes the sentence; None only logs it.
        more: Other updates that such an end needs, by part of the page.
    """

    def failed(error: Exception) -> Update | None:
        words = html.note("error", html.text(handlers.sentence(error)))
        return None if place is None else {place: words, **(more or {})}

    @functools.wraps(handler)
    def answers(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except Exception as error:
            return failed(error)

    @functools.wraps(handler)
    async def streams(*args: Any, **kwargs: Any) -> Any:
        try:
            async for update in handler(*args, **kwargs):
                yield update
        except Exception as error:
            yield failed(error)

    return streams if inspect.isasyncgenfunction(handler) else answers


def session(request: Any) -> str:
    """Return what tells one browser tab from another."""
    return str(request.session_hash)
