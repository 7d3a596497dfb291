"""Layer-wise relevance propagation: the relevance of a score, handed down from layer to layer.

Relevance flows where gradients would: the gradient of a tensor, on the way back, is its relevance,
of the same shape. In the rules below ``R`` is the relevance of the output of a function and
``R_x`` that of its input ``x``. A tensor *carries* relevance where it requires a gradient, that is
where it depends on the input; everything else (weights, masks, position embeddings) is constant.
"""
