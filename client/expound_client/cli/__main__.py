"""`python -m expound_client.cli`, the same as `expound`."""

from expound_client.cli import main

main()
