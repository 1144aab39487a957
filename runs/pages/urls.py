"""Addresses of the pages, to be included wherever a project wants them."""

from django.urls import path

from runs.pages import lists, one_run, starting, stopping

urlpatterns = [
    path("", lists.run_list, name="run-list"),
    path("rows", lists.run_rows, name="run-rows"),
    path("start/", starting.choose, name="run-start"),
    path("start/<str:graph>", starting.start, name="run-start-graph"),
    path("stop", stopping.stop_many, name="run-stop-many"),
    path("<uuid:run_id>/", one_run.run_page, name="run"),
    path("<uuid:run_id>/live", one_run.run_live, name="run-live"),
    path("<uuid:run_id>/children", lists.children, name="run-children"),
    path("<uuid:run_id>/input.json", one_run.run_input, name="run-input"),
    path("<uuid:run_id>/output.json", one_run.run_output, name="run-output"),
    path("<uuid:run_id>/stop", stopping.stop, name="run-stop"),
    path("<uuid:run_id>/pause", stopping.pause, name="run-pause"),
    path("<uuid:run_id>/resume", stopping.resume, name="run-resume"),
    path("<uuid:run_id>/retry", stopping.retry, name="run-retry"),
    path("<uuid:run_id>/look", stopping.look, name="run-look"),
]
