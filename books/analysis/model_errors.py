"""Says of a provider's failure what the user can do. The one place that knows their shapes.

Providers share no base class of errors, so that status codes and names of classes must do.
"""


def explain_failure(error: Exception, model: str, timeout_seconds: float) -> str:
    """Return one or two sentences for the user; never the key, never a traceback."""
    if isinstance(error, ImportError):
        return f"The package for {model} isn't installed: {_brief(error)}"
    status = _find_status(error)
    if status is not None:
        return _explain_status(status, model, error)
    kinds = {kind.__name__.lower() for kind in type(error).__mro__}
    if any("refusal" in kind for kind in kinds):
        return f"{model} refused to analyse this text: {_brief(error)}"
    if any("timeout" in kind for kind in kinds):
        return f"{model} didn't answer within {timeout_seconds:g} seconds. Try again, or choose a faster model."
    if any("connect" in kind for kind in kinds):
        return f"{model} can't be reached. Check the network, and OPENAI_BASE_URL if you set it."
    if any("lengthfinish" in kind for kind in kinds):
        return f"{model} ran out of room for its answer. Choose a model with longer answers."
    if "api_key" in str(error).lower() or "api key" in str(error).lower():
        return f"There is no key for {model}. Set the provider's key, for OpenAI: OPENAI_API_KEY."
    if isinstance(error, ValueError):
        return f"{model!r} isn't a model name LangChain knows, such as openai:gpt-4o-mini: {_brief(error)}"
    return f"{model} failed: {type(error).__name__}: {_brief(error)}"


def _explain_status(status: int, model: str, error: Exception) -> str:
    if status in {401, 403}:
        return f"{model}: the provider rejects the key ({status}). Check it; for OpenAI: OPENAI_API_KEY."
    if status == 404:
        return f"{model}: the provider doesn't know this model (404). Check BOOKS_MODEL and OPENAI_BASE_URL."
    if status == 429:
        return f"{model}: too many requests, or no credit left (429). Try again later, or check the account."
    if status >= 500:
        return f"{model}: the provider has a problem ({status}). Try again later."
    return f"{model}: the provider rejected the request ({status}): {_brief(error)}"


def _find_status(error: Exception) -> int | None:
    for source in (error, getattr(error, "response", None)):
        for attribute in ("status_code", "code"):
            status = getattr(source, attribute, None)
            if isinstance(status, int):
                return status
    return None


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
