from django.apps import AppConfig
from django.db import transaction
from django.db.models.signals import post_delete


class BooksConfig(AppConfig):
    name = "books"
    verbose_name = "Books"

    def ready(self) -> None:
        from books.models import Book
        from books.workflow import follow_retry
        from runs.signals import run_retried

        def delete_file(instance: Book, **_: object) -> None:
            """Whatever deletes a book, also the deletion of its owner, deletes its file."""
            file, storage = instance.file.name, instance.file.storage
            if file:
                transaction.on_commit(lambda: storage.delete(file))

        run_retried.connect(follow_retry, dispatch_uid="books.follow_retry")
        post_delete.connect(delete_file, sender=Book, weak=False, dispatch_uid="books.delete_file")
