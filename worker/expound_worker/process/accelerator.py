"""An accelerator that has failed takes its process with it."""

import logging
import os

import torch

logger = logging.getLogger(__name__)


def end_if_lost(error: Exception) -> None:
    """Ends the process on an error behind which nothing can be computed on its device any more.

    CUDA gives the same error for every call after one that went wrong, whosever that is; a new
    process has a new context, and takes up what this one held. Memory that does not suffice is not
    such an error.
    """
    if isinstance(error, torch.AcceleratorError):
        logger.error("the device is lost, and its process ends", exc_info=error)
        os._exit(os.EX_UNAVAILABLE)
