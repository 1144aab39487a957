"""Every Celery task under control, not only graphs: what waits, runs and has ended, the queues, and the workers."""
