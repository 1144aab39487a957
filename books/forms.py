from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile

from books.models import Book

MAX_UPLOAD_BYTES = 50_000_000  # the setting BOOKS_MAX_UPLOAD_BYTES, when there is none


def max_upload_bytes() -> int:
    return int(getattr(settings, "BOOKS_MAX_UPLOAD_BYTES", MAX_UPLOAD_BYTES))


def megabytes(size: int) -> str:
    """In millions of bytes, like the limit: 50000000 → "50 MB"."""
    return f"{size / 1_000_000:,.1f}".removesuffix(".0") + " MB"


class FilesInput(forms.ClearableFileInput):
    allow_multiple_selected = True


class FilesField(forms.FileField):
    """Several files, each of its own size; whether they are books is judged by the run that reads them."""

    widget = FilesInput

    def clean(self, data: Any, initial: Any = None) -> list[UploadedFile[Any]]:
        files = data or [None]  # no file is refused like a missing one
        cleaned: list[UploadedFile[Any]] = []
        errors: list[forms.ValidationError] = []
        for file in files:
            try:
                cleaned.append(self._clean_one(file))
            except forms.ValidationError as error:
                errors.append(error)
        if errors:
            raise forms.ValidationError(errors)
        return cleaned

    def _clean_one(self, file: Any) -> UploadedFile[Any]:
        if isinstance(file, UploadedFile) and file.size == 0:
            raise forms.ValidationError(f"“{file.name}” is empty.", code="empty")
        uploaded: UploadedFile[Any] = super().clean(file)
        limit = max_upload_bytes()
        if uploaded.size is not None and uploaded.size > limit:
            raise forms.ValidationError(
                f"“{uploaded.name}” has {megabytes(uploaded.size)}; {megabytes(limit)} is the most.",
                code="too_large",
            )
        return uploaded


class UploadForm(forms.Form):
    file = FilesField(
        label="Choose one or more books",
        max_length=Book._meta.get_field("file_name").max_length,
        error_messages={
            "required": "Choose a file first.",
            "max_length": "The name of the file is too long: %(max)d characters are the most.",
        },
    )
