from django.urls import path

from books import report_views, views

urlpatterns = [
    path("", views.book_list, name="book-list"),
    path("books/rows", views.book_rows, name="book-rows"),
    path("books/sample", views.add_sample, name="book-add-sample"),
    path("books/<uuid:book_id>/", views.book_page, name="book"),
    path("books/<uuid:book_id>/live", views.book_live, name="book-live"),
    path("books/<uuid:book_id>/process", views.process, name="book-process"),
    path("books/<uuid:book_id>/continue", views.go_on, name="book-continue"),
    path("books/<uuid:book_id>/stop", views.stop, name="book-stop"),
    path("books/<uuid:book_id>/delete", views.delete, name="book-delete"),
    path("books/<uuid:book_id>/report", report_views.report_page, name="book-report"),
    path("books/<uuid:book_id>/report.json", report_views.report_json, name="book-report-json"),
    path("books/<uuid:book_id>/report.md", report_views.report_markdown, name="book-report-markdown"),
]
