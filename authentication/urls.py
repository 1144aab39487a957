"""Addresses of an account's pages. allauth knows them by its own names, the other pages by the short ones."""

from allauth.account import views as allauth_views
from django.contrib.auth import views as auth_views
from django.urls import include, path
from django.views.generic import TemplateView

from authentication import views

log_in = views.LogInView.as_view()
log_out = auth_views.LogoutView.as_view()
password_reset = views.PasswordResetView.as_view()

urlpatterns = [
    path("login/", log_in, name="login"),
    path("login/", log_in, name="account_login"),
    path("logout/", log_out, name="logout"),
    path("logout/", log_out, name="account_logout"),
    path("inactive/", allauth_views.account_inactive, name="account_inactive"),
    path("signup/", allauth_views.signup, name="account_signup"),
    path("confirm/", allauth_views.email_verification_sent, name="account_email_verification_sent"),
    path("confirm/<str:key>/", allauth_views.confirm_email, name="account_confirm_email"),
    path("again/", allauth_views.reauthenticate, name="account_reauthenticate"),
    path("email/", allauth_views.email, name="account_email"),
    path("password/", allauth_views.password_change, name="password_change"),
    path("password/", allauth_views.password_change, name="account_change_password"),
    path("password/first/", allauth_views.password_set, name="account_set_password"),
    path("keys/", views.api_keys, name="api_keys"),
    path("keys/<uuid:key_id>/revoke", views.revoke_api_key, name="api_key_revoke"),
    path("reset/", password_reset, name="password_reset"),
    path("reset/", password_reset, name="account_reset_password"),
    path(
        "reset/done/",
        TemplateView.as_view(template_name="authentication/password_reset_done.html"),
        name="password_reset_done",
    ),
    path(
        "reset/complete/",
        TemplateView.as_view(template_name="authentication/password_reset_complete.html"),
        name="account_reset_password_from_key_done",
    ),
    path(
        "reset/<str:uidb36>/<str:key>/", allauth_views.password_reset_from_key, name="account_reset_password_from_key"
    ),
    path("two-step/", include("allauth.mfa.urls")),
    path("sessions/<int:session_id>/end", views.end_session, name="session_end"),
    path("sessions/", include("allauth.usersessions.urls")),
]
