"""What other apps are told of, in the transaction in which it happens."""

from __future__ import annotations

from django.dispatch import Signal

# A run is tried again: `old` is the run that ended, `new` the queued one that takes its place. Whoever points to a
# run as "the one that does this now" points to the new one from here on.
run_retried = Signal()
