"""The Celery application: its settings, and nothing else."""

from celery import Celery

from expound import tasks
from expound_worker.settings import Settings


def create_app(settings: Settings) -> Celery:
    """Makes the application whose worker runs `expound_worker.tasks`.

    One child process per worker owns the device. It is spawned, not forked, because CUDA and gRPC
    do not survive a fork, and it loads the models, which may take long. Messages are acknowledged
    when the child takes them: the record in Redis tells what is done, not the queue.
    """
    app = Celery("expound", include=["expound_worker.tasks"])
    app.conf.update(tasks.celery_settings(settings.redis_url))
    app.conf.update(
        worker_concurrency=1,
        worker_pool="prefork",
        worker_pool_start_method="spawn",
        worker_proc_alive_timeout=900,
        # Nothing waits inside a worker that another one could take.
        worker_disable_prefetch=True,
        # An acknowledgement that is lost with its connection is never made again: a limit of
        # messages that wait for theirs would keep the worker from taking tickets for ever.
        worker_prefetch_multiplier=0,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        task_queues=None,
        task_create_missing_queues=True,
    )
    return app
