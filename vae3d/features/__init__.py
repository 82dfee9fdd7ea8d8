"""Frozen networks whose features are compared: public ones from a file, or an own encoder.

`networks` names the public ones, `convolutions` and `resnet` compute them, `file` reads and checks
their tensors, `encoder` uses the encoder of an earlier training. `extractor` is the frozen network
with its input and its layers, `opening` builds it from what a user names, `distance` compares two
images, and `slices` are the planes that a 2D network sees of a volume.
"""
