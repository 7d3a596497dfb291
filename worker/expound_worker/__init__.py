"""Workers: models, methods, the perturbation engine and the Celery tasks that run them."""
