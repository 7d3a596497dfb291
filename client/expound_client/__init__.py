"""Client SDK and command line of Expound."""
