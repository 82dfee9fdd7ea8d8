"""`CustomVAE`: the network with its weights on disk, its model card and its summary."""
