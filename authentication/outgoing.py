"""Mails that are written where they are caused and sent by a worker.

The token in a mail is made by the request, so the whole mail waits in a sealed row, and the broker gets the row's id.
Whoever takes the row sends it; a row is taken once. A mail that was not sent is given back; one whose worker died
while it sent is not, because nobody knows whether it went.
"""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from uuid import UUID

from django.core.mail import EmailMultiAlternatives
from django.utils import timezone

from authentication import sealing
from authentication.models import OutgoingMail

logger = logging.getLogger(__name__)

OVERDUE = timedelta(minutes=30)  # longer than all tries of a task together
KEPT = timedelta(days=3)  # then the links in it are no longer valid
MOST_OVERDUE = 20  # mails that are sent at once


def keep(kind: str, message: EmailMultiAlternatives) -> OutgoingMail:
    """Let a mail wait until a worker takes it."""
    [(html, _)] = message.alternatives
    content = {"to": message.to, "subject": message.subject, "text": message.body, "html": html}
    return OutgoingMail.objects.create(kind=kind, sealed=sealing.seal(json.dumps(content)))


def send(mail_id: UUID) -> bool:
    """Send the mail, if nobody has taken it; true if it went.

    Raises:
        Exception: what the mail server's connection raised; the mail waits again.
    """
    if not OutgoingMail.objects.filter(pk=mail_id, taken_at=None).update(taken_at=timezone.now()):
        return False
    row = OutgoingMail.objects.get(pk=mail_id)
    try:
        _message(row).send()
    except BaseException:
        OutgoingMail.objects.filter(pk=mail_id).update(taken_at=None)
        raise
    row.delete()
    return True


def overdue() -> list[UUID]:
    """Mails whose message was lost, or whose tries were all in vain; what is too old is forgotten."""
    now = timezone.now()
    OutgoingMail.objects.filter(created_at__lt=now - KEPT).delete()
    waiting = OutgoingMail.objects.filter(taken_at=None, created_at__lt=now - OVERDUE).order_by("created_at")
    return list(waiting.values_list("pk", flat=True)[:MOST_OVERDUE])


def _message(row: OutgoingMail) -> EmailMultiAlternatives:
    content = json.loads(sealing.open_sealed(row.sealed))
    message = EmailMultiAlternatives(subject=content["subject"], body=content["text"], to=content["to"])
    message.attach_alternative(content["html"], "text/html")
    return message
