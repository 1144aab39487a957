from django.contrib.auth import views as auth_views
from django.urls import path
from django.views.generic import TemplateView

from authentication import views

urlpatterns = [
    path("login/", views.LogInView.as_view(), name="login"),
    path("logout/", auth_views.LogoutView.as_view(), name="logout"),
    path("password/", views.PasswordChangeView.as_view(), name="password_change"),
    path("keys/", views.api_keys, name="api_keys"),
    path("keys/<uuid:key_id>/revoke", views.revoke_api_key, name="api_key_revoke"),
    path("reset/", views.PasswordResetView.as_view(), name="password_reset"),
    path(
        "reset/done/",
        TemplateView.as_view(template_name="authentication/password_reset_done.html"),
        name="password_reset_done",
    ),
    path("reset/<uidb64>/<token>/", views.PasswordResetConfirmView.as_view(), name="password_reset_confirm"),
    path(
        "reset/complete/",
        TemplateView.as_view(template_name="authentication/password_reset_complete.html"),
        name="password_reset_complete",
    ),
]
