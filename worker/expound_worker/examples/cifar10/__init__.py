"""The small network of the CIFAR-10 tutorials: trained, saved and registered.

`python -m expound_worker.examples.cifar10 --help` tells how; `make case-study` does that, and then
explains test images through a running service.
"""
