"""Encoded images to pixels, in a process of its own.

Image decoders are C code that reads what strangers send. Here they run in a process that has
neither the models nor a connection to anything: what crashes it, or never ends, costs that image
alone.
"""
