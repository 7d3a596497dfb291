"""DeepLIFT: the differences of a score to that of a baseline, handed down from layer to layer.

Input and baseline run through the network together, and every tensor that depends on the input has
a pair: what the baseline became at the same place. A rule gives the value of a function at the
input, with a gradient that stands for the difference to the baseline.
"""
