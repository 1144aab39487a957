"""What a browser calls itself, in words."""

from __future__ import annotations

import re

from django import template

register = template.Library()

# In this order: each of the first ones also names itself after those below it.
BROWSERS = {
    "Edge": r"Edg(?:e|A|iOS)?/(\d+)",
    "Opera": r"OPR/(\d+)",
    "Firefox": r"(?:Firefox|FxiOS)/(\d+)",
    "Chrome": r"(?:Chrome|HeadlessChrome|CriOS)/(\d+)",
    "Safari": r"Version/(\d+).*Safari/",
}
SYSTEMS = {
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Android": "Android",
    "Windows": "Windows",
    "macOS": "Mac OS X",
    "ChromeOS": "CrOS",
    "Linux": "Linux",
}


@register.filter
def browser_name(user_agent: str) -> str:
    """Such as "Firefox 150 on Linux"; a program's own name as it is."""
    named = ((name, re.search(pattern, user_agent)) for name, pattern in BROWSERS.items())
    browser = next((f"{name} {found[1]}" for name, found in named if found), None)
    if browser is None:
        return user_agent or "unknown"
    system = next((name for name, word in SYSTEMS.items() if word in user_agent), None)
    return f"{browser} on {system}" if system else browser
