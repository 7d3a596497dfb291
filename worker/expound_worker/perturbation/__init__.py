"""The perturbation engine: masks over segments in, scores of the composites out.

Symbols: N masks, M segments, T targets, and inputs of shape (C, H, W). A mask is a row of M
booleans, true where a segment of the image is kept and false where the baseline stands in for it;
of methods without segments, whatever a mask of pixels is made from.
"""
