from django.db import migrations


def trust(apps, schema_editor):
    """Accounts made before one could sign up go on logging in without a proof of their address."""
    User = apps.get_model('authentication', 'User')
    EmailAddress = apps.get_model('account', 'EmailAddress')
    known = set(EmailAddress.objects.values_list('user_id', flat=True))
    EmailAddress.objects.bulk_create(
        [
            EmailAddress(user_id=pk, email=email.lower(), verified=True, primary=True)
            for pk, email in User.objects.values_list('pk', 'email')
            if pk not in known
        ],
        batch_size=500,
    )


class Migration(migrations.Migration):

    dependencies = [
        ('authentication', '0003_sign_up'),
        ('account', '0009_emailaddress_unique_primary_email'),
    ]

    operations = [migrations.RunPython(trust, migrations.RunPython.noop)]
