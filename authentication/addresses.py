"""Which address of an account is known to be its owner's.

Who signs up proves the address with a mail. An account made by somebody with the right to (in the admin, on the
command line) is believed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction

if TYPE_CHECKING:
    from authentication.models import User


def trust(user: User) -> None:
    """The account's address is its one and confirmed one."""
    # Its module asks for the user model, which asks for this one.
    from allauth.account.models import EmailAddress

    address = user.email.lower()
    with transaction.atomic():
        EmailAddress.objects.filter(user_id=user.pk).exclude(email=address).delete()
        EmailAddress.objects.update_or_create(
            user_id=user.pk, email=address, defaults={"verified": True, "primary": True}
        )


def is_of_another(address: str, user: User) -> bool:
    return type(user).objects.filter(email__iexact=address).exclude(pk=user.pk).exists()
