"""The admin's pages of runs and workers. Runs are looked at and stopped here, never edited: the engine writes them."""

from runs.admin.freeze_admin import FreezeAdmin
from runs.admin.run_admin import RunAdmin
from runs.admin.worker_admin import WorkerAdmin

__all__ = ["FreezeAdmin", "RunAdmin", "WorkerAdmin"]
