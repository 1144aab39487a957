"""A book that was uploaded, and its chapters once it was read.

`workflow` starts and stops the run that fills them in; the nodes in `graphs` are the only writers of what was
found.
"""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import models


def _upload_path(book: Book, file_name: str) -> str:
    # Uploads are hostile: nothing of the name that the person gave reaches the file system.
    return f"books/{book.id}"


class Book(models.Model):
    """`title` and `author` are the file's own once it was read; until then the title is the file's name."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="books")
    file = models.FileField(upload_to=_upload_path, max_length=200)
    file_name = models.CharField(max_length=255)
    format = models.CharField(max_length=8, blank=True)
    title = models.CharField(max_length=300)
    author = models.CharField(max_length=300, blank=True)
    language = models.CharField(max_length=35, blank=True)
    run = models.ForeignKey(
        "runs.Run", on_delete=models.SET_NULL, null=True, blank=True, related_name="+", editable=False
    )
    error: models.JSONField[dict[str, Any] | None] = models.JSONField(null=True, blank=True)
    report: models.JSONField[dict[str, Any] | None] = models.JSONField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    analysed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.title


class SectionKind(models.TextChoices):
    """What `books.reader` recognised; only chapters are analysed and numbered."""

    FRONT = "front", "front matter"
    CHAPTER = "chapter", "chapter"
    BACK = "back", "back matter"
    LICENCE = "licence", "licence"


class Section(models.Model):
    """One section of a book in reading order; `analysis` is a `ChapterAnalysis` as JSON, None until its run ended."""

    book = models.ForeignKey(Book, on_delete=models.CASCADE, related_name="sections")
    position = models.PositiveIntegerField()
    number = models.PositiveIntegerField(null=True, blank=True)
    kind = models.CharField(max_length=8, choices=SectionKind)
    title = models.CharField(max_length=300)
    text = models.TextField()
    analysis: models.JSONField[dict[str, Any] | None] = models.JSONField(null=True, blank=True)
    run = models.ForeignKey(
        "runs.Run", on_delete=models.SET_NULL, null=True, blank=True, related_name="+", editable=False
    )

    class Meta:
        ordering = ["book", "position"]
        constraints = [
            models.UniqueConstraint(fields=["book", "position"], name="section_position_unique"),
            models.UniqueConstraint(fields=["book", "number"], name="section_number_unique"),
            models.CheckConstraint(
                condition=models.Q(kind="chapter", number__isnull=False)
                | (~models.Q(kind="chapter") & models.Q(number__isnull=True)),
                name="section_only_chapters_are_numbered",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.number}. {self.title}" if self.number else self.title
