"""The second player of a training: a patch discriminator, and what both players minimise."""
