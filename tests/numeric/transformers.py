"""Small networks of tokens, as people write them."""

import torch
from torch import Tensor, nn


class Embedding(nn.Module):
    """Patches of 4 x 4 pixels as tokens (N, tokens, 8), row by row, behind leading ones."""

    def __init__(self, leading_tokens: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.leading = nn.Parameter(torch.randn(1, leading_tokens, 8))

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        return torch.cat([self.leading.expand(len(images), -1, -1), tokens], dim=1)


class Transformer(nn.Module):
    """A vision transformer: (N, 3, H, W) to (N, 5).

    The score is that of a class token, or of the mean of all tokens, registers among them.
    """

    def __init__(self, class_token: bool, registers: int = 0) -> None:
        super().__init__()
        self.class_token = class_token
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.embed = Embedding(class_token + registers)
            self.blocks = nn.Sequential(*[Block() for _ in range(2)])
            self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.blocks(self.embed(images))
        logits: Tensor = self.head(tokens[:, 0] if self.class_token else tokens.mean(dim=1))
        return logits


class Block(nn.Module):
    """Attention and a linear layer, each beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.linear = nn.Linear(8, 8)

    def forward(self, tokens: Tensor) -> Tensor:
        read = self.norm(tokens)
        tokens = tokens + self.attention(read, read, read, need_weights=False)[0]
        mixed: Tensor = tokens + self.linear(tokens).tanh()
        return mixed
