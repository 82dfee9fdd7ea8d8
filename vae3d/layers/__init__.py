"""The layers of the network: convolutions, norms, attention, folding, and how they recompute."""
